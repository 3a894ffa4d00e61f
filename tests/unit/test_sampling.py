"""Snapshots made from snapshots: ids agree, bytes repeat, and the difference told is the difference there is."""

import gzip
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from omop_inc.errors import SettingsError
from omop_inc.sampling.mutation import Mutated, mutate_snapshot
from omop_inc.sampling.plan import SHARES
from omop_inc.sampling.rows import open_source, read_records, shape_of
from omop_inc.sampling.scaling import scale_snapshot
from omop_inc.source.tables import SOURCE_TABLES

EXAMPLE = Path(__file__).parents[2] / "examples" / "snapshots" / "2020-06-17"
COPIES = 4

Rows = dict[str, list[dict[str, bytes]]]


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """52 people: enough for every action of a day."""
    folder = tmp_path_factory.mktemp("scaled") / "snapshot"
    scale_snapshot(EXAMPLE, folder, copies=COPIES)
    return folder


@pytest.fixture(scope="module")
def next_day(scaled: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mutated]:
    folder = tmp_path_factory.mktemp("mutated") / "snapshot"
    return folder, mutate_snapshot(scaled, folder, percent=80, seed=5)


def _read(folder: Path) -> Rows:
    found: Rows = {}
    for table, file in open_source(folder).files.items():
        shape, rows = shape_of(file), []
        for records in read_records(file):
            for record in records:
                fields = shape.split(record)
                assert fields is not None
                rows.append({name: fields[place] for name, place in shape.at.items()})
        found[table] = rows
    return found


def _significant(folder: Path) -> dict[str, Counter[tuple[bytes, ...]]]:
    found = {}
    for table, file in open_source(folder).files.items():
        shape = shape_of(file)
        split = [shape.split(record) for records in read_records(file) for record in records]
        found[table] = Counter(shape.canonical(fields) for fields in split if fields is not None)
    return found


def _orphans(rows: Rows) -> dict[str, int]:
    ids = {table: {row["id"] for row in rows[table]} for table in ("patients", "encounters", "claims")}
    found: dict[str, int] = {}
    for table, facts in SOURCE_TABLES.items():
        for parent in facts.parents:
            lost = sum(bool(row[parent.column]) and row[parent.column] not in ids[parent.table] for row in rows.get(table, []))
            found[f"{table}.{parent.column}"] = lost
    return found


def test_scaled_has_every_row_as_often_as_copies_but_payers_once(scaled: Path) -> None:
    base, large = _read(EXAMPLE), _read(scaled)
    assert {table: len(rows) for table, rows in large.items()} == {
        table: len(rows) * (1 if table == "payers" else COPIES) for table, rows in base.items()
    }


def test_scaled_copies_share_no_id_and_no_copy_loses_a_parent(scaled: Path) -> None:
    base, large = _read(EXAMPLE), _read(scaled)
    assert not any(_orphans(base).values())
    assert not any(_orphans(large).values())
    for table in ("patients", "encounters", "claims", "organizations", "providers", "careplans"):
        assert len({row["id"] for row in large[table]}) == COPIES * len({row["id"] for row in base[table]})
    assert {row["id"] for row in base["patients"]} < {row["id"] for row in large["patients"]}
    assert {row["payer"] for row in large["encounters"]} <= {row["id"] for row in base["payers"]}


def test_scaled_is_the_same_again_and_another_with_another_seed(scaled: Path, tmp_path: Path) -> None:
    for name, seed in (("again", 0), ("other", 1)):
        scale_snapshot(EXAMPLE, tmp_path / name, copies=COPIES, seed=seed)
    bytes_of = [sorted((path.name, path.read_bytes()) for path in folder.iterdir()) for folder in (scaled, tmp_path / "again", tmp_path / "other")]
    assert bytes_of[0] == bytes_of[1]
    assert bytes_of[0] != bytes_of[2]


def test_mutated_touches_every_way_and_tells_the_true_difference(scaled: Path, next_day: tuple[Path, Mutated]) -> None:
    folder, told = next_day
    assert set(told.actions) == set(SHARES)
    before, after = _significant(scaled), _significant(folder)
    for table, truth in told.tables.items():
        assert (after[table] - before[table]).total() == truth.new + truth.changed, table
        assert (before[table] - after[table]).total() == truth.removed + truth.changed, table
        assert after[table].total() == truth.rows, table
    for kind in ("new", "changed", "removed"):
        assert sum(getattr(truth, kind) > 0 for truth in told.tables.values()) >= 8, kind


def test_mutated_rows_have_their_parents(next_day: tuple[Path, Mutated]) -> None:
    assert not any(_orphans(_read(next_day[0])).values())


def test_mutated_redraws_what_each_export_computes_anew(scaled: Path, next_day: tuple[Path, Mutated]) -> None:
    before, after = _read(scaled)["claims_transactions"], _read(next_day[0])["claims_transactions"]
    numbers = [int(row["chargeid"]) for row in after]
    assert len({row["id"] for row in before} & {row["id"] for row in after}) < len(before) / 2
    assert numbers[-1] != int(before[-1]["chargeid"])
    assert {row["method"] for row in after} <= {row["method"] for row in before} | {b"CASH", b"CC", b"CHECK"}
    payers = [{row["id"]: row["revenue"] for row in _read(folder)["payers"]} for folder in (scaled, next_day[0])]
    assert all(payers[0][one] != payers[1][one] for one in payers[0])
    redrawn = {table for table, truth in next_day[1].tables.items() if truth.redrawn}
    assert redrawn == {"payers", "organizations", "providers", "claims_transactions"}


def test_mutated_is_the_same_again(scaled: Path, next_day: tuple[Path, Mutated], tmp_path: Path) -> None:
    assert mutate_snapshot(scaled, tmp_path / "again", percent=80, seed=5) == next_day[1]
    for path in next_day[0].iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_shuffled_holds_the_same_rows_in_another_order(scaled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omop_inc.sampling.shuffling.BUCKET_BYTES", 1 << 14)
    told = mutate_snapshot(scaled, tmp_path / "shuffled", percent=0, shuffle=True)
    assert told.actions == {}
    for path in scaled.iterdir():
        before, after = path.read_bytes().split(b"\n"), (tmp_path / "shuffled" / path.name).read_bytes().split(b"\n")
        assert sorted(before) == sorted(after)
        assert before[0] == after[0]
        assert before != after or len(before) < 20


def test_a_day_among_the_first_people_changes_a_larger_scale_alike(tmp_path: Path) -> None:
    told = []
    for copies in (2, 7):
        scale_snapshot(EXAMPLE, tmp_path / f"{copies}", copies=copies)
        people = len(_read(tmp_path / "2")["patients"])
        told.append(mutate_snapshot(tmp_path / f"{copies}", tmp_path / f"{copies} next", percent=50, seed=3, among=people))
    assert told[0].actions == told[1].actions
    assert sum(told[0].actions.values()) == people // 2
    changes = [{table: (truth.new, truth.changed, truth.removed) for table, truth in one.tables.items()} for one in told]
    assert changes[0] == changes[1]


def test_the_day_is_the_one_asked_for_or_the_one_after_the_latest_encounter(scaled: Path, tmp_path: Path) -> None:
    asked = date(2031, 5, 6)
    told = mutate_snapshot(scaled, tmp_path / "asked", percent=50, day=asked)
    latest = max(row["start"][:10] for row in _read(tmp_path / "asked")["encounters"])
    assert (told.day, latest) == (asked, b"2031-05-06")
    start = max(row["start"][:10] for row in _read(scaled)["encounters"])
    assert mutate_snapshot(scaled, tmp_path / "next", percent=1).day.isoformat().encode() > start


def test_records_with_line_breaks_stray_quotes_and_crlf_pass_as_they_are(tmp_path: Path) -> None:
    source, rows = tmp_path / "source", (
        b'2020-03-01,,p,e,S,1,"two\nlines, ""quoted"""',
        b'2020-03-01,,p,e,S,1,6 "inches" long',
        b'2020-03-01,,p,e,S,1,"never closed',
        b"2020-03-02,,p,e,S,1,plain",
    )  # fmt: skip
    source.mkdir()
    for path in EXAMPLE.iterdir():
        if path.name.startswith(("patients", "encounters")):
            (source / path.name).write_bytes(path.read_bytes())
    text = b"START,STOP,PATIENT,ENCOUNTER,SYSTEM,CODE,DESCRIPTION\r\n" + b"".join(row + b"\r\n" for row in rows)
    (source / "conditions.csv.gz").write_bytes(gzip.compress(text))
    scale_snapshot(source, tmp_path / "target", copies=1)
    written = (tmp_path / "target" / "conditions.csv").read_bytes()
    assert written == text.replace(b"\r\n", b"\n")


def test_a_target_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").touch()
    for make in (lambda: scale_snapshot(EXAMPLE, tmp_path, copies=1), lambda: mutate_snapshot(EXAMPLE, tmp_path, percent=1)):
        with pytest.raises(SettingsError, match="is not empty"):
            make()
