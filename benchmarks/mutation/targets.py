"""The files that are changed, and the tests that concern each.

Belongs here: facts about this project. Does not: how tests are run (scratch.py).
A file's tests come cheapest first; a change counts as surviving only when all of them have passed.
"""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.mutation.mutants import Mutant, make_mutant
from benchmarks.mutation.python_operators import python_edits
from benchmarks.mutation.sql import sql_edits
from omop_inc.cdm.transforms import transforms, views_of

PROJECT = Path(__file__).resolve().parents[2]
SQL_FILES = ("sql/transform/*.sql", "sql/view/*.sql", "sql/query/resolve_*.sql")
# The real exports take minutes; everything that they could tell a small history tells.
_UNIT = "tests/unit/test_{}.py"
_DELTAS, _HASHING = "tests/property/test_deltas.py", "tests/property/test_hashing.py"
_HISTORIES = "tests/property/test_histories.py"
_INTEGRATION = "tests/integration/test_{}.py"
_CASES = "tests/sql/test_cases.py"


def _integration(*names: str) -> tuple[str, ...]:
    return tuple(_INTEGRATION.format(one) for one in names)


PYTHON_FILES: dict[str, tuple[str, ...]] = {
    "omop_inc/source/deltas.py": (_UNIT.format("deltas"), _DELTAS),
    "omop_inc/source/hashing.py": (_UNIT.format("hashing"), _HASHING, _UNIT.format("snapshot"), _UNIT.format("records")),
    "omop_inc/source/lines.py": (_UNIT.format("records"), _UNIT.format("hashing"), _HASHING),
    "omop_inc/source/records.py": (_UNIT.format("records"), _HASHING, _UNIT.format("snapshot")),
    "omop_inc/store/pairing.py": (*_integration("reload"), _HISTORIES),
    "omop_inc/store/fates.py": (*_integration("quarantine"), _HISTORIES),
    "omop_inc/store/intake.py": (*_integration("quarantine"), _HISTORIES),
    "omop_inc/store/apply.py": (*_integration("quarantine"), _HISTORIES),
    "omop_inc/store/state.py": (_UNIT.format("state"), *_integration("snapshots"), _HISTORIES),
    "omop_inc/store/row_ids.py": ("tests/property/test_row_ids.py", _HISTORIES),
    "omop_inc/cdm/scope.py": (_HISTORIES, _UNIT.format("transforms")),
    "omop_inc/cdm/world.py": (_HISTORIES,),
    "omop_inc/cdm/results.py": (_HISTORIES, *_integration("reload")),
    "omop_inc/cdm/publish.py": (_HISTORIES, *_integration("reload")),
    "omop_inc/runs/detect.py": (_UNIT.format("detect"), *_integration("snapshots"), _HISTORIES),
    "omop_inc/runs/increment.py": (*_integration("snapshots"), _HISTORIES),
    "omop_inc/runs/guards.py": _integration("guards"),
    "omop_inc/runs/accounting.py": (_UNIT.format("accounting"), *_integration("quarantine"), _HISTORIES),
}


def target_files(root: Path = PROJECT) -> list[str]:
    """All files that are changed, from the project's folder."""
    found = [path.relative_to(root).as_posix() for pattern in SQL_FILES for path in sorted(root.glob(pattern))]
    return found + [file for file in PYTHON_FILES if (root / file).is_file()]


def mutants_of(file: str, root: Path = PROJECT) -> Iterator[Mutant]:
    """Every change of a file."""
    text = (root / file).read_text(encoding="utf-8")
    edits = sql_edits(text, text) if file.endswith(".sql") else python_edits(text)
    seen: set[str] = set()
    for edit in edits:
        mutant = make_mutant(file, text, edit)
        if mutant.before != edit.text and mutant.id not in seen:
            seen.add(mutant.id)
            yield mutant


def tests_of(file: str, root: Path = PROJECT) -> list[str]:
    """What pytest is told for a file, in its order."""
    if not file.endswith(".sql"):
        return [one for one in PYTHON_FILES[file] if (root / one).exists()]
    if "/query/" in file:
        return [*_integration("code_map"), _CASES]
    stem = Path(file).stem
    readers = [stem] if "/transform/" in file else [n for n, one in transforms().items() if any(view.name == stem for view in views_of(one))]
    return ["tests/sql", "-k", " or ".join(readers)]
