from pathlib import Path

import polars as pl
import pytest

from omop_inc.errors import SettingsError
from omop_inc.source.records import Chunk, read_chunks
from omop_inc.source.screening import failures_of, is_seen_valid
from omop_inc.source.snapshot import open_snapshot
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.source.validation import Failure, failures, schema_of

UUID = "0d604cb7-6146-e7b0-f932-243c332a6757"
GOOD = {"uuid": UUID, "text": "x", "date": "2020-02-29", "timestamp": "2020-02-29T23:59:59Z", "integer": "1", "numeric": "1.5"}
WORKSHOP = Path(__file__).parents[2].parent / "shared"


def frame(table: str, *rows: dict[str, str | None]) -> pl.DataFrame:
    good: dict[str, str | None] = {column.staged: GOOD[column.type] for column in SOURCE_TABLES[table].significant}
    return pl.DataFrame([good | row for row in rows], schema=dict.fromkeys(good, pl.String), orient="row")


def chunk_of(folder: Path, table: str, *rows: dict[str, str]) -> Chunk:
    """The only chunk of a file of these rows, valid where nothing else is said."""
    for name in ("patients", "encounters"):
        (folder / f"{name}.csv").write_text(",".join(SOURCE_TABLES[name].header) + "\n")
    columns = [column for column in SOURCE_TABLES[table].columns if not column.legacy]
    lines = [",".join(column.name for column in columns)]
    lines += [",".join(row.get(column.staged, GOOD[column.type]) for column in columns) for row in rows]
    (folder / f"{table}.csv").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    (chunk,) = read_chunks(open_snapshot(folder).files[table])
    return chunk


@pytest.mark.parametrize("table", SOURCE_TABLES)
def test_every_table_has_a_schema_that_takes_good_rows(table: str) -> None:
    assert failures(frame(table, {}, {}), table) == []
    assert failures(frame(table), table) == []


@pytest.mark.parametrize("table", SOURCE_TABLES)
def test_only_what_may_be_empty_may_be_empty(table: str) -> None:
    columns = SOURCE_TABLES[table].significant
    empty = frame(table, dict.fromkeys((column.staged for column in columns), None))
    assert {failure.column for failure in failures(empty, table)} == {column.staged for column in columns if not column.nullable}


def test_failures_name_position_column_and_rule() -> None:
    rows = [{}, {"id": "x"}, {}, {"start": None, "code": None}, {"stop": "2023-02-29", "base_encounter_cost": "NaN"}, {"id": None}]
    assert [(failure.row_index, failure.column, failure.rule) for failure in failures(frame("encounters", *rows), "encounters")] == [
        (1, "id", "uuid"),
        (3, "code", "not_null"),
        (3, "start", "not_null"),
        (4, "base_encounter_cost", "numeric"),
        (4, "stop", "timestamp"),
        (5, "id", "not_null"),
    ]


def test_failures_are_right_far_into_a_large_frame() -> None:
    bad = {7, 4_321, 9_999}
    rows = [{"patient": "x"} if at in bad else {} for at in range(10_000)]
    assert failures(frame("observations", *rows), "observations") == [Failure(row_index=at, column="patient", rule="uuid") for at in sorted(bad)]


DATES = [
    ("2020-02-29", True), ("2000-02-29", True), ("1900-02-29", False), ("2023-02-29", False), ("2400-02-29", True), ("2100-02-29", False),
    ("0001-01-01", True), ("0004-02-29", True), ("0000-01-01", False), ("0000-00-00", False), ("0000-02-29", False), ("9999-12-31", True),
    ("10000-01-01", False), ("2020-04-31", False), ("2020-06-30", True), ("2020-13-01", False), ("2020-00-10", False), ("2020-01-00", False),
    ("2020-1-1", False), ("20200101", False), ("01/02/2020", False), ("now", False), ("infinity", False), ("-infinity", False),
    ("today", False), ("epoch", False), ("2020-01-01 ", False), (" 2020-01-01", False), ("2020-01-01\n", False), ("-2020-01-01", False),
    ("2020-01-01 BC", False), ("٢٠٢٠-01-01", False), ("2020-01-01T00:00:00Z", True), ("2020-01-01T24:00:00Z", False), ("9999", False),
    ("292278994-08-17T07:12:55Z", False),
]  # fmt: skip
TIMESTAMPS = [
    *DATES, ("2020-01-01T00:00:00", True), ("2020-01-01T23:59:59.123456Z", True), ("2020-01-01T23:59:59.1234567Z", False),
    ("2020-01-01T23:59:60Z", False), ("2020-01-01T23:60:00Z", False), ("2020-01-01T12:00Z", False), ("2020-01-01 12:00:00", False),
    ("2020-01-01T12:00:00+02:00", False), ("2020-01-01T12:00:00z", False), ("2020-01-01T", False), ("2020-01-01T12:00:00.Z", False),
]  # fmt: skip
INTEGERS = [
    ("0", True), ("-1", True), ("+1", True), ("007", True), ("2147483647", True), ("2147483648", False), ("-2147483648", True),
    ("-2147483649", False), ("99999999999", False), ("1.0", False), ("1e3", False), ("", False), ("1 ", False), ("1_000", False),
    ("0x1F", False), ("--1", False), ("٣", False), ("NaN", False),
]  # fmt: skip
NUMERICS = [
    ("0", True), ("-12.50", True), ("+.5", True), ("5.", True), ("1e5", True), ("1E-05", True), ("4.9E-324", True), ("1e99", True),
    ("1e400", False), ("1e100", False), (".", False), ("e5", False), ("1e", False), ("NaN", False), ("nan", False), ("Infinity", False),
    ("inf", False), ("-Infinity", False), ("1,5", False), ("1 000", False), ("0x10", False), ("1_0", False), ("$5", False), ("1.5 ", False),
    ("9" * 40, True), ("9" * 41, False), ("0." + "1" * 400, True), ("0." + "1" * 401, False), ("١", False), ("1.2.3", False), ("-", False),
]  # fmt: skip
UUIDS = [
    (UUID, True), (UUID.upper(), True), (UUID.replace("-", ""), False), ("{" + UUID + "}", False), (" " + UUID, False), (UUID + " ", False),
    (UUID[:-1], False), (UUID + "0", False), (UUID.replace("0", "g"), False), (UUID + "\n", False), ("7", False), ("００", False),
]  # fmt: skip
CASES = [
    pytest.param(table, column, value, is_good, id=f"{rule}: {value[:40]!r}")
    for rule, table, column, cases in [
        ("date", "patients", "deathdate", DATES),
        ("timestamp", "encounters", "stop", TIMESTAMPS),
        ("integer", "medications", "dispenses", INTEGERS),
        ("numeric", "encounters", "total_claim_cost", NUMERICS),
        ("uuid", "encounters", "payer", UUIDS),
    ]
    for value, is_good in cases
]


@pytest.mark.parametrize(("table", "column", "value", "is_good"), CASES)
def test_value(table: str, column: str, value: str, is_good: bool) -> None:
    rule = SOURCE_TABLES[table].column(column).type
    expected = [] if is_good else [Failure(row_index=0, column=column, rule=rule)]
    assert failures(frame(table, {column: value}), table) == expected


@pytest.mark.parametrize(("table", "column", "value", "is_good"), [case for case in CASES if not set(case.values[2]) & set("\n,")])
def test_value_in_a_plain_block_gets_the_same_answer(tmp_path: Path, table: str, column: str, value: str, is_good: bool) -> None:
    chunk = chunk_of(tmp_path, table, {}, {column: value}, {})
    rule = SOURCE_TABLES[table].column(column).type
    assert chunk.is_plain
    assert failures_of(chunk, table) == ([] if is_good or not value else [Failure(row_index=1, column=column, rule=rule)])


@pytest.mark.parametrize("table", SOURCE_TABLES)
def test_what_may_not_be_empty_is_missed_in_a_plain_block(tmp_path: Path, table: str) -> None:
    columns = SOURCE_TABLES[table].significant
    assert is_seen_valid(chunk_of(tmp_path, table, {}, {}), table)
    for column in columns:
        found = failures_of(chunk_of(tmp_path, table, {}, {column.staged: ""}), table)
        assert found == ([] if column.nullable else [Failure(row_index=1, column=column.staged, rule="not_null")])


def test_bom_within_a_file_is_part_of_a_value(tmp_path: Path) -> None:
    chunk = chunk_of(tmp_path, "conditions", {"start": "\ufeff2020-01-01"}, {})
    assert failures_of(chunk, "conditions") == [Failure(row_index=0, column="start", rule="date")]


def test_long_text_in_a_plain_block_is_refused(tmp_path: Path) -> None:
    chunk = chunk_of(tmp_path, "conditions", {}, {"description": "é" * 500_001})
    assert failures_of(chunk, "conditions") == [Failure(row_index=1, column="description", rule="text")]


def test_every_day_of_four_centuries_is_decided_as_the_calendar_does() -> None:
    days = [f"{year:04d}-{month:02d}-{day:02d}" for year in range(1999, 2400) for month in range(14) for day in range(33)]
    values = pl.DataFrame({"day": days}).with_columns(is_real=pl.col("day").str.to_date("%Y-%m-%d", strict=False).is_not_null())
    checked = frame("patients", *({"deathdate": day} for day in days[:1])).drop("deathdate")
    whole = checked.join(values.select(deathdate="day"), how="cross").select(SOURCE_TABLES["patients"].staged)
    refused = {failure.row_index for failure in failures(whole, "patients")}
    assert refused == set(values.with_row_index().filter(~pl.col("is_real"))["index"].to_list())


def test_text_that_is_too_long_is_refused() -> None:
    rows = [{"description": "x" * 1_000_000}, {"description": "é" * 500_001}]
    assert failures(frame("conditions", *rows), "conditions") == [Failure(row_index=1, column="description", rule="text")]


def test_failures_never_hold_values() -> None:
    secret = "999-12-3456"
    assert secret not in repr(failures(frame("patients", {"id": secret, "birthdate": secret}), "patients"))


@pytest.mark.parametrize("change", [lambda rows: rows.drop("id"), lambda rows: rows.with_columns(other=pl.lit("x"))], ids=["missing", "unknown"])
def test_frame_of_other_columns_is_a_fault_of_ours(change) -> None:
    with pytest.raises(ValueError, match="does not fit the schema"):
        failures(change(frame("patients", {})), "patients")


@pytest.mark.parametrize("value", ["False", "false", "0"])
def test_validation_that_is_switched_off_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PANDERA_VALIDATION_ENABLED", value)
    with pytest.raises(SettingsError, match="PANDERA_VALIDATION_ENABLED"):
        failures(frame("patients", {}), "patients")


def test_schema_is_strict() -> None:
    assert all(schema_of(table).strict for table in SOURCE_TABLES)


@pytest.mark.workshop
@pytest.mark.skipif(not (WORKSHOP / "data").is_dir(), reason="the real exports are not here")
@pytest.mark.parametrize("folder", ["v27_113p", "v30_27p", "v30_59p", "v33_11p", "ma100/20240531"])
def test_real_exports_have_no_failure_and_no_bad_record(folder: str) -> None:
    for table, file in open_snapshot(WORKSHOP / "data/synthea" / folder).files.items():
        for chunk in read_chunks(file):
            assert not chunk.bad
            assert failures(chunk.frame, table) == failures_of(chunk, table) == []
