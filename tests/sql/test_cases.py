"""Every case folder of tests/sql: load its snapshots one after another, compare the CDM table with expect.csv.

Belongs here: the comparison and its words. Does not: rules of a table (they are in the case folders).
"""

import csv
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from omop_inc.cdm.transforms import transforms
from tests.sql.cases import ROOT, Case, all_cases, read_csv, without_comments
from tests.sql.world import World

WorldOf = Callable[[Case], World]
CASES = all_cases()

BASIC = frozenset({"one_row", "unmapped_code", "missing_end_date", "changed_row", "removed_row", "empty_delta"})
# What a table cannot have, with the reason.
_NO_CODE, _NO_END, _NO_ZERO = {"unmapped_code"}, {"missing_end_date"}, "concept 0 makes no era"
WITHOUT = {
    "care_site": _NO_CODE | _NO_END,
    "cdm_source": _NO_CODE | _NO_END | {"removed_row"},  # always one row
    "location": _NO_CODE | _NO_END,
    "metadata": _NO_CODE | _NO_END | {"changed_row", "removed_row"},  # a function of the tool and its vocabulary
    "provider": _NO_END,
    "person": _NO_END,
    "death": _NO_END,
    "cost": _NO_CODE | _NO_END,
    "measurement": _NO_END,
    "specimen": _NO_END,
}


def test_case_folders_cover_every_transform() -> None:
    found = {table: {case.folder.name for case in CASES if case.table == table} for table in transforms()}
    missing = {table: sorted(BASIC - WITHOUT.get(table, set()) - names) for table, names in found.items()}
    assert {table: names for table, names in missing.items() if names} == {}
    assert {case.table for case in CASES} <= set(transforms())


def test_case_folders_hold_nothing_that_is_not_read() -> None:
    known = {"expect.csv", "changes.csv", "alone.txt", "manifest.json"}
    folders = [path for path in ROOT.glob("*/*") if path.is_dir() and path.name != "__pycache__"]
    assert [str(path) for path in folders if not (path / "expect.csv").is_file()] == []
    stray = [path for case in CASES for path in case.folder.glob("*") if path.is_file() and path.name not in known]
    assert [str(path) for path in stray if path.stem not in case_files()] == []


def case_files() -> set[str]:
    return {table for case in CASES for snapshot in case.snapshots for table in snapshot}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case(case: Case, world_of: WorldOf, request: pytest.FixtureRequest) -> None:
    world = _sound(world_of(case))
    update = request.config.getoption("--update-expect", default=False)
    expect = case.folder / "expect.csv"
    _compare(expect, world.rows(case, _header(expect)), update=update)
    changes = case.folder / "changes.csv"
    if changes.is_file():
        _compare(changes, world.changes(case), update=update)
    if case.is_alone:
        _check_rebuild(world)


@pytest.mark.parametrize("case", [case for case in CASES if not case.is_alone][:1], ids=["shared"])
def test_increments_of_the_cases_equal_a_rebuild(case: Case, world_of: WorldOf) -> None:
    _check_rebuild(_sound(world_of(case)))


def _check_rebuild(world: World) -> None:
    assert world.rerun_status == "no_change"
    assert world.verify_problem is None, world.verify_problem


def _sound(world: World) -> World:
    if world.problem is not None:
        pytest.fail(world.problem, pytrace=False)
    return world


def _header(path: Path) -> list[str]:
    return next(csv.reader(without_comments(path)))


def _compare(path: Path, found: list[dict[str, str]], *, update: bool) -> None:
    """Compare rows in any order; or write them down, comments kept."""
    header = _header(path)
    if update:
        comments = [line + "\n" for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
        path.write_text("".join(comments) + _text(header, found), encoding="utf-8")
    expected = Counter(_text(header, read_csv(path)).splitlines()[1:])
    actual = Counter(_text(header, found).splitlines()[1:])
    lines = [f"- {line}" for line in (expected - actual).elements()] + [f"+ {line}" for line in (actual - expected).elements()]
    assert not lines, f"{path.parent.parent.name}/{path.parent.name}/{path.name} (- expected, + found)\n  {','.join(header)}\n" + "\n".join(lines)


def _text(header: list[str], rows: list[dict[str, str]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(sorted([row[name] for name in header] for row in rows))
    return stream.getvalue()
