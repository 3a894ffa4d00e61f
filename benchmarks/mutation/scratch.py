"""A copy of the project in which a mutant is put and pytest is run.

Belongs here: the copy, the process, how its end is read. Does not: which tests (targets.py).
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.mutation.mutants import Mutant
from benchmarks.mutation.results import Result, make_result
from benchmarks.mutation.targets import PROJECT, tests_of
from tests.conftest import DSN_VARIABLE, TestServer

COPIED = ("omop_inc", "sql", "tests", "flows", "examples", "pyproject.toml", "README.md", "docs", "prefect.yaml")
# Much more than all tests of one file take, so that a busy machine makes no timeouts.
LIMIT_S = 120
# Tests that are asked first, because they failed for this file before.
LEARNED = 3
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", re.MULTILINE)


def make_copy(folder: Path) -> Path:
    """Copy the project, without what was built or run in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for entry in COPIED:
        source = PROJECT / entry
        if source.is_dir():
            shutil.copytree(source, folder / entry, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis"))
        elif source.is_file():
            shutil.copy2(source, folder / entry)
    return folder


class Scratch:
    """The copy, and which tests killed what in it."""

    def __init__(self, folder: Path, server: TestServer) -> None:
        self._folder = make_copy(folder)
        self._environment = {**os.environ, "PYTHONPATH": str(self._folder), DSN_VARIABLE: server.admin_url}
        self._killers: dict[str, Counter[str]] = {}

    def learn(self, file: str, killer: str) -> None:
        """Remember a test that failed for a file; those whose world depends on what else is collected keep their place."""
        if "::" in killer and not killer.startswith("tests/sql"):
            self._killers.setdefault(file, Counter())[killer] += 1

    def judge(self, mutant: Mutant, tests: list[str] | None = None) -> Result:
        """Run the tests that concern a mutant until one fails."""
        path = self._folder / mutant.file
        text = path.read_text(encoding="utf-8")
        start = time.perf_counter()
        try:
            self._write(path, mutant.apply(text))
            chosen = tests or tests_of(mutant.file, self._folder)
            first = [test for test, _ in self._killers.get(mutant.file, Counter()).most_common(LEARNED)]
            code, output = self._run([*first, *chosen])
        finally:
            self._write(path, text)
        duration_s = time.perf_counter() - start
        if code == 0:
            return make_result(mutant, "survived", "", "pytest", duration_s)
        if code is None:
            return make_result(mutant, "timeout", "", "pytest", duration_s)
        failed = _FAILED.search(output)
        killer = failed[1] if failed else f"exit code {code}"
        self.learn(mutant.file, killer)
        return make_result(mutant, "killed", killer, "pytest", duration_s)

    def _write(self, path: Path, text: str) -> None:
        """Replace a file; compiled code is told apart by second and size, so it goes with the text."""
        path.write_text(text, encoding="utf-8")
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
            compiled.unlink()

    def _run(self, tests: list[str]) -> tuple[int | None, str]:
        """Run pytest in a process of its own; no code if it ran out of time."""
        arguments = ["-x", "-q", "-n", "0", "--hypothesis-seed=0", "-p", "no:cacheprovider", "--tb=no", *tests]
        command = [sys.executable, "-m", "pytest", *arguments]
        try:
            done = subprocess.run(command, cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        except subprocess.TimeoutExpired:
            return None, ""
        return done.returncode, done.stdout
