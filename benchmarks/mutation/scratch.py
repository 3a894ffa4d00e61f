"""A copy of the project in which a mutant is put and pytest is run.

Belongs here: the copy, the runs, how their end is read. Does not: which tests (targets.py), processes (nursery.py).
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.mutation.mutants import Mutant
from benchmarks.mutation.results import Result, Status, make_result
from benchmarks.mutation.targets import PROJECT, stages_of
from benchmarks.mutation.together import REFUSED_BY, killers, own_tables
from tests.conftest import DSN_VARIABLE, RESIDENT_VARIABLE, TestServer, _create, _database_url, _drop
from tests.sql.world import prepare_resident

COPIED = ("omop_inc", "sql", "tests", "flows", "examples", "benchmarks", "pyproject.toml", "README.md", "docs", "prefect.yaml")
# Much more than all tests of one stage take, so that a busy machine, or one that stops its processes for a while, makes no timeouts.
LIMIT_S = 600
# Tests that are asked first, because they failed for this file before.
LEARNED = 2
PYTEST = ("--maxfail=1", "-q", "-p", "no:cacheprovider", "--tb=short")
# Only what a stage needs: pytest loads all plugins that are installed otherwise, at half a second each time.
DRAWING = ("-p", "_hypothesis_pytestplugin", "--hypothesis-seed=0")
DRAWN = ("tests/property", "tests/oracle")
ENVIRONMENT = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": ""}
PAUSE_S = 2.0
LAST_LINES = 200
# PostgreSQL or its driver refuses the text itself, whatever the rows: syntax, a column or function that is not there, types or parameters that
# do not fit.
# A module that cannot be imported is Python's refusal: an operator between two types of an annotation.
_UNIMPORTED = "ImportError while loading conftest"
_REFUSED = re.compile(
    r"answered (?:22007|42(?:601|703|702|803|804|846|883|725|P08|P18|P20))|SyntaxError: (?!PostgreSQL)|the query has \d+ placeholders? but|"
    + _UNIMPORTED
)
# pytest's own codes: no test was collected, as where all cases of a table need a database of their own; the arguments are wrong.
NO_TESTS, WRONG_USE = 5, (3, 4, 70)
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

    def __init__(self, folder: Path, server: TestServer, pause: Path | None = None) -> None:
        """Make the copy.

        Args:
            folder: Is made anew.
            server: Where the tests make their databases.
            pause: While this file is there, no run begins.
        """
        self._folder, self._pause = make_copy(folder), pause
        resident = f"mutation_{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]}"
        _drop(server, resident)
        _create(server, resident, "template1")
        prepare_resident(_database_url(server, resident), folder / "made")
        environment = {**os.environ, **ENVIRONMENT, DSN_VARIABLE: server.admin_url, RESIDENT_VARIABLE: resident, "PYTHONPATH": str(folder)}
        self._nursery = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.mutation.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environment,
        )
        self._killers: dict[str, Counter[str]] = {}

    def learn(self, file: str, killer: str) -> None:
        """Remember a test that failed for a file; those whose world depends on what else is collected keep their place."""
        if "::" in killer and not killer.startswith("tests/sql"):
            self._killers.setdefault(file, Counter())[killer] += 1

    def judge(self, mutant: Mutant, *, first: int = 0, last: int | None = None) -> Result:
        """Run the tests that concern a mutant, stage after stage, until one fails.

        Args:
            mutant: The change.
            first: The stage to begin with.
            last: The stage before which to stop.
        """
        start = time.perf_counter()
        with self._changed([mutant]):
            code, output = self._run_stages(mutant.file, stages_of(mutant.file, self._folder)[first:last])
        duration_s = time.perf_counter() - start
        if code == 0:
            return make_result(mutant, "survived", "", "pytest", duration_s)
        if code is None:
            return make_result(mutant, "timeout", "", "pytest", duration_s)
        if _REFUSED.search(output):
            return make_result(mutant, "invalid", "", "pytest", duration_s)
        failed = _FAILED.search(output)
        killer = failed[1] if failed else f"exit code {code}"
        self.learn(mutant.file, killer)
        return make_result(mutant, "killed", killer, "pytest", duration_s)

    def judge_together(self, group: list[Mutant]) -> list[Result]:
        """The mutants of a group that the brief cases of their own tables kill, or that PostgreSQL refuses."""
        start = time.perf_counter()
        wanted = " or ".join(sorted(frozenset().union(*(own_tables(mutant.file) for mutant in group))))
        with self._changed(group):
            code, output = self._run(["--maxfail=1000", "tests/sql/test_cases.py", "--brief", "-k", wanted])
        if code in (0, NO_TESTS):
            return []
        is_whole = " passed" not in output[-LAST_LINES:]
        found = {} if is_whole and not REFUSED_BY.search(output) else killers(group, output)
        if is_whole and len(group) > 1:  # the run as a whole failed: who it was shows without the others
            left = [mutant for mutant in group if mutant.id not in found]
            parts = [left] if found else [group[: len(group) // 2], group[len(group) // 2 :]]
            more = [result for part in parts if part for result in self.judge_together(part)]
        else:
            found, more = found or {group[0].id: str(code)}, []
        status: Status = "invalid" if is_whole and _REFUSED.search(output) else "killed"
        each_s = (time.perf_counter() - start) / len(group)
        return more + [make_result(m, status, found[m.id], "pytest, several at once", each_s) for m in group if m.id in found]

    @contextlib.contextmanager
    def _changed(self, mutants: list[Mutant]) -> Iterator[None]:
        """The copy with some changes, each of another file."""
        texts = {self._folder / mutant.file: (self._folder / mutant.file).read_text(encoding="utf-8") for mutant in mutants}
        try:
            for mutant in mutants:
                self._write(self._folder / mutant.file, mutant.apply(texts[self._folder / mutant.file]))
            yield
        finally:
            for path, text in texts.items():
                self._write(path, text)

    def prove(self, files: list[str]) -> str:
        """Run the tests of files without any change; what then fails proves nothing. Empty if all passed."""
        stages = [stage for file in files if not file.endswith(".sql") for stage in stages_of(file, self._folder)]
        for stage in sorted({tuple(stage) for stage in [["tests/sql/test_cases.py", "--brief"], ["tests/sql"], *stages]}):
            code, output = self._run(list(stage))
            if code not in (0, NO_TESTS):
                return output
        return ""

    def _run_stages(self, file: str, stages: list[list[str]]) -> tuple[int | None, str]:
        first = [test for test, _ in self._killers.get(file, Counter()).most_common(LEARNED)]
        for stage in ([first] if first else []) + stages:
            code, output = self._run(stage)
            if (code in WRONG_USE and _UNIMPORTED not in output) or (code == NO_TESTS and "--brief" not in stage):
                raise SystemExit(f"pytest cannot do {stage} ({code}):\n{output}")
            if code not in (0, NO_TESTS):
                return code, output
        return 0, ""

    def _write(self, path: Path, text: str) -> None:
        """Replace a file; compiled code is told apart by second and size, so it goes with the text."""
        path.write_text(text, encoding="utf-8")
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
            compiled.unlink()

    def _run(self, tests: list[str]) -> tuple[int | None, str]:
        """Run pytest in a child of the nursery; no code if it ran out of time."""
        while self._pause is not None and self._pause.exists():
            time.sleep(PAUSE_S)
        output = self._folder / "output.txt"
        drawing = DRAWING if any(test.startswith(DRAWN) for test in tests) else ()
        request = {"arguments": [*PYTEST, *drawing, *tests], "output": str(output), "limit_s": LIMIT_S}
        assert self._nursery.stdin is not None and self._nursery.stdout is not None
        self._nursery.stdin.write(json.dumps(request) + "\n")
        self._nursery.stdin.flush()
        return json.loads(self._nursery.stdout.readline()), output.read_text(encoding="utf-8", errors="replace")
