"""Snapshots and runs that are refused, skipped or fail, and that change nothing then."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from omop_inc.errors import EXIT_OK, EXIT_REFUSED, EXIT_USAGE, OmopIncError, SnapshotRefusedError, SourceFileError, StateMismatchError
from omop_inc.runs import increment
from omop_inc.runs.context import Run
from omop_inc.runs.detect import Seen
from omop_inc.runs.snapshots import Kind, Request, apply_snapshot, exit_code
from tests.comparing import exact_differences
from tests.factories import World, joined, person_rows, row, small_world, uid
from tests.stores import Cdm
from tests.worlds import write_snapshot

PEOPLE = 15


def _crowd() -> World:
    """Enough people for the guards' limits."""
    people = [person_rows(number, number % 2) for number in range(PEOPLE)]
    world = joined(small_world(0), *people)
    for number in range(30):
        patient = uid("patients", number % PEOPLE)
        world["observations"].append(row("observations", PATIENT=patient, DATE="2020-04-01", VALUE=str(number)))
    return world


def _without_conditions(world: World) -> None:
    world["conditions"].clear()


def _without_many_people(world: World) -> None:
    del world["patients"][4:]


def _without_many_rows(world: World) -> None:
    del world["observations"][10:]


RULES: list[tuple[str, Callable[[World], None], str]] = [
    ("file_gone", _without_conditions, r"'conditions.csv' holds no row; the last snapshot had 15 rows of it"),
    ("people_lost", _without_many_people, r"11 of 15 people are gone; the limit is 5% and 10"),
    ("rows_lost", _without_many_rows, r"'observations.csv' lost 35 of 45 rows net, those of people who left aside; the limit is 5% and 20"),
]


@pytest.mark.parametrize("kind", ["incremental", "full_reload"])
@pytest.mark.parametrize(("rule", "lose", "message"), RULES, ids=[rule for rule, _, _ in RULES])
def test_loss_is_refused_until_just_this_snapshot_is_allowed(
    cdm: Cdm, tmp_path: Path, rule: str, lose: Callable[[World], None], message: str, kind: str
) -> None:
    world = _crowd()
    cdm.run(write_snapshot(tmp_path / "a", world))
    before = cdm.read()
    lose(world)
    b = write_snapshot(tmp_path / "b", world)
    with pytest.raises(SnapshotRefusedError, match=message) as refused:
        cdm.run(b, kind)  # type: ignore[arg-type]
    assert refused.value.rule == rule
    assert refused.value.exit_code == EXIT_REFUSED
    assert f"--allow {refused.value.snapshot_digest}" in str(refused.value)
    with pytest.raises(SnapshotRefusedError, match=message):
        cdm.run(b, kind, allow="0" * 32)  # type: ignore[arg-type]
    assert exact_differences(before, cdm.read()) == []
    assert cdm.query("SELECT status FROM cdm_ledger.run WHERE generation IS NULL") == [("refused",), ("refused",)]
    allowed = cdm.run(b, kind, allow=refused.value.snapshot_digest)  # type: ignore[arg-type]
    assert (allowed.status, allowed.snapshot_digest) == ("applied", refused.value.snapshot_digest)
    assert any(refused.value.snapshot_digest in warning for warning in allowed.warnings)
    assert cdm.run(b).status == "no_change"


def test_missing_file_that_had_rows_is_refused(cdm: Cdm, tmp_path: Path) -> None:
    cdm.run(write_snapshot(tmp_path / "a", small_world(1)))
    b = write_snapshot(tmp_path / "b", small_world(1))
    (b / "claims.csv").unlink()
    with pytest.raises(SnapshotRefusedError, match=r"'claims.csv' is missing; the last snapshot had 1 rows of it"):
        cdm.run(b)


def test_empty_file_is_refused_as_a_header_alone_is(cdm: Cdm, tmp_path: Path) -> None:
    cdm.run(write_snapshot(tmp_path / "a", small_world(1)))
    b = write_snapshot(tmp_path / "b", small_world(1))
    (b / "claims.csv").write_bytes(b"")
    with pytest.raises(SnapshotRefusedError, match=r"'claims.csv' holds no row"):
        cdm.run(b)


def test_file_that_never_had_rows_may_be_empty(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world(1)
    world["payer_transitions"].clear()
    cdm.run(write_snapshot(tmp_path / "a", world))
    world["patients"][0]["CITY"] = "Salem"
    assert cdm.run(write_snapshot(tmp_path / "b", world)).status == "applied"


def test_people_who_leave_take_their_rows_without_a_refusal(cdm: Cdm, tmp_path: Path) -> None:
    world = _crowd()
    for number in range(40):
        world["observations"].append(row("observations", PATIENT=uid("patients", 0), DATE="2020-04-02", VALUE=str(number)))
    cdm.run(write_snapshot(tmp_path / "a", world))
    gone = uid("patients", 0)
    rest = {table: [one for one in rows if gone not in one.values()] for table, rows in world.items()}
    assert cdm.run(write_snapshot(tmp_path / "b", rest)).status == "applied"
    assert cdm.query("SELECT count(*) FROM cdm.person") == [(PEOPLE - 1,)]


@pytest.mark.parametrize("kind", ["incremental", "full_reload"])
def test_rows_that_change_are_no_loss(cdm: Cdm, tmp_path: Path, kind: Kind) -> None:
    world = _crowd()
    cdm.run(write_snapshot(tmp_path / "a", world))
    world["observations"] = [one | {"VALUE": "7.5"} for one in world["observations"]]
    assert cdm.run(write_snapshot(tmp_path / "b", world), kind).status == "applied"


def test_older_manifest_is_refused_unless_allowed(cdm: Cdm, tmp_path: Path) -> None:
    for name, date, people in (("new", "2024-05-02", 2), ("old", "2024-05-01", 1)):
        folder = write_snapshot(tmp_path / name, small_world(people))
        (folder / "manifest.json").write_text(json.dumps({"snapshot_date": date}))
    cdm.run(tmp_path / "new")
    with pytest.raises(SnapshotRefusedError, match=r"of 2024-05-01, the CDM already holds that of 2024-05-02; .* --allow-older") as refused:
        cdm.run(tmp_path / "old")
    assert refused.value.rule == "older"
    assert cdm.run(tmp_path / "old", allow_older=True).status == "applied"


def test_second_run_at_once_is_skipped(cdm: Cdm, tmp_path: Path) -> None:
    a = write_snapshot(tmp_path / "a", small_world(1))
    cdm.run(a)
    with psycopg.connect(cdm.url) as other:
        other.execute("SELECT pg_advisory_lock(hashtextextended('omop_inc run cdm', 0))")
        summary, error = apply_snapshot(Request(source=a), cdm.settings(lock_wait_s=0.2))
        assert (summary.status, exit_code(summary, error)) == ("skipped", EXIT_OK)
        assert Cdm(cdm.url, cdm.state_dir, "other").run(a).status == "applied"  # another CDM has a lock of its own
    assert cdm.run(a).status == "no_change"


def _cut(data: bytes) -> bytes:
    return data[:-5]


def _rename(data: bytes) -> bytes:
    return data.replace(b"ENCOUNTERCLASS", b"CLASS")


def _drop(data: bytes) -> bytes:
    lines = data.split(b"\n")
    at = lines[0].split(b",").index(b"ENCOUNTERCLASS")
    return b"\n".join(b",".join(f for i, f in enumerate(line.split(b",")) if i != at) if line else line for line in lines)


def _twice(data: bytes) -> bytes:
    return data.replace(b"TOTAL_CLAIM_COST", b"BASE_ENCOUNTER_COST")


DAMAGES: list[tuple[Callable[[bytes], bytes], str]] = [
    (_cut, r"'encounters.csv' ends in the middle of a line"),
    (_rename, r"'encounters.csv': required columns \['ENCOUNTERCLASS'\] are missing; required are \[.*'Id'.*\], found \[.*'CLASS'.*\]"),
    (_drop, r"'encounters.csv': required columns \['ENCOUNTERCLASS'\] are missing; required are \[.*\], found \[.*\]"),
    (_twice, r"'encounters.csv': columns \['BASE_ENCOUNTER_COST'\] are there more than once"),
    (lambda data: data.replace(b"REASONCODE", b"WHIM"), r"'encounters.csv': unknown columns \['WHIM'\]; known are \[.*'REASONCODE'.*\]"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=["cut", "renamed", "missing", "twice", "unknown"])
def test_file_that_is_not_what_it_should_be_stops_the_run(cdm: Cdm, tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    cdm.run(write_snapshot(tmp_path / "a", small_world(1)))
    before = cdm.read()
    b = write_snapshot(tmp_path / "b", small_world(2))
    file = b / "encounters.csv"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(SourceFileError, match=message) as stopped:
        cdm.run(b)
    assert stopped.value.exit_code == EXIT_USAGE
    assert exact_differences(before, cdm.read()) == []


def test_file_that_changes_between_two_looks_stops_the_run(cdm: Cdm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its size and time say nothing of it."""
    cdm.run(write_snapshot(tmp_path / "a", small_world(1)))
    before = cdm.read()
    b = write_snapshot(tmp_path / "b", small_world(3))
    file, real = b / "conditions.csv", increment.stage

    def stage_what_changed(run: Run, seen: Seen) -> None:
        if seen.table == "conditions":
            time = file.stat().st_mtime_ns
            first, _, rest = file.read_bytes().rstrip(b"\n").rpartition(b"\n")
            file.write_bytes(first + b"," + rest + b"\n")  # one record fewer
            os.utime(file, ns=(time, time))
        real(run, seen)

    monkeypatch.setattr(increment, "stage", stage_what_changed)
    with pytest.raises(StateMismatchError, match=r"'conditions.csv' was changed while it was read"):
        cdm.run(b)
    assert exact_differences(before, cdm.read()) == []


def test_unknown_column_may_be_left_unread(cdm: Cdm, tmp_path: Path) -> None:
    a = write_snapshot(tmp_path / "a", small_world(1))
    cdm.run(a)
    b = write_snapshot(tmp_path / "b", small_world(1))
    file = b / "encounters.csv"
    header, *lines = file.read_text().splitlines()
    file.write_text("\n".join([f"WHIM,{header}", *(f"x,{line}" for line in lines)]) + "\n")
    summary = cdm.run(b, unknown_columns="ignore")
    assert summary.status == "no_change"
    assert "'encounters.csv': unknown columns ignored: WHIM." in summary.warnings


def test_refusal_before_a_table_is_there_creates_nothing_half(cdm: Cdm, tmp_path: Path) -> None:
    a = write_snapshot(tmp_path / "a", small_world(1))
    (a / "patients.csv").unlink()
    with pytest.raises(OmopIncError, match=r"patients.csv missing"):
        cdm.run(a)
    assert cdm.run(write_snapshot(tmp_path / "b", small_world(1))).generation == 1
