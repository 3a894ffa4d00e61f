"""The records of a file: every honest spelling of the same rows gives the same hashes, damage stays where it is."""

import gzip
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from omop_inc.errors import SourceFileError
from omop_inc.source import snapshot
from omop_inc.source.records import Chunk, hash_records, read_chunks
from omop_inc.source.snapshot import SourceFile, open_snapshot
from omop_inc.source.tables import SOURCE_TABLES

CONDITIONS = "START,STOP,PATIENT,ENCOUNTER,SYSTEM,CODE,DESCRIPTION"
NAMES = ["start", "stop", "patient", "encounter", "system", "code", "description"]


def open_file(folder: Path, table: str, content: bytes, *, compressed: bool = False) -> SourceFile:
    for name in ("patients", "encounters"):
        (folder / f"{name}.csv").write_text(",".join(SOURCE_TABLES[name].header) + "\n")
    for stale in folder.glob(f"{table}.csv*"):
        stale.unlink()
    (folder / f"{table}.csv{'.gz' if compressed else ''}").write_bytes(gzip.compress(content) if compressed else content)
    return open_snapshot(folder).files[table]


def conditions(folder: Path, *records: bytes, end: bytes = b"\n") -> SourceFile:
    return open_file(folder, "conditions", end.join([CONDITIONS.encode(), *records, b""]))


def read_all(file: SourceFile, **options: object) -> Chunk:
    chunks = list(read_chunks(file, **options))  # type: ignore[arg-type]
    assert len(chunks) == 1
    return chunks[0]


def check_agreement(file: SourceFile, chunk_rows: int = 50_000) -> None:
    """hash_records and read_chunks see the same records in the same order."""
    hashes = hash_records(file)
    seen = np.zeros((len(hashes.hashes), 2), dtype=np.uint64)
    count = bad_count = 0
    for chunk in read_chunks(file, chunk_rows=chunk_rows):
        assert len(chunk.indexes) == len(chunk.line_numbers) == len(chunk.hashes) == len(chunk.payload) == len(chunk.frame)
        seen[chunk.indexes] = chunk.hashes
        for bad in chunk.bad:
            seen[bad.index] = bad.hash
        count += len(chunk.indexes) + len(chunk.bad)
        bad_count += len(chunk.bad)
    assert count == len(hashes.hashes)
    assert bad_count == hashes.bad_count
    assert (seen == hashes.hashes).all()


ROWS = [
    b"2020-01-01,,p1,e1,SNOMED-CT,123,Cough",
    b"2020-01-02,2020-02-01,p2,,SNOMED-CT,456,Caf\xc3\xa9",
    b"2020-01-03,,p3,e3,,789,back\\slash \\. and \t tab",
    b"2020-01-01,,p1,e1,SNOMED-CT,123,Cough",
]
FIELDS = [row.decode().split(",") for row in ROWS]


def spell(order: list[int], end: str = "\n", quote: Callable[[str], str] = str, bom: str = "") -> bytes:
    records = [[CONDITIONS.split(",")[at] for at in order], *([quote(row[at]) for at in order] for row in FIELDS)]
    return (bom + "".join(",".join(record) + end for record in records)).encode()


def quoted(value: str) -> str:
    return f'"{value}"'


SAME = list(range(7))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(spell(SAME, end="\r\n"), id="CRLF"),
        pytest.param(spell(SAME, bom="\ufeff"), id="BOM"),
        pytest.param(spell(SAME, bom="\ufeff", end="\r\n", quote=quoted), id="BOM, CRLF and quotes"),
        pytest.param(spell(SAME, quote=quoted), id="quotes"),
        pytest.param(spell([6, 5, 4, 3, 2, 1, 0]), id="other order"),
        pytest.param(spell([1, 0, 2, 3, 5, 4, 6], quote=quoted), id="other order and quotes"),
        pytest.param(spell(SAME).replace(b"123,Cough\n", b"123,Cough\r\n"), id="mixed line ends"),
    ],
)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gz"])
def test_same_rows_in_another_spelling_have_the_same_hashes_and_copy_lines(tmp_path: Path, content: bytes, compressed: bool) -> None:
    plain = read_all(open_file(tmp_path, "conditions", spell(SAME)))
    other_file = open_file(tmp_path, "conditions", content, compressed=compressed)
    other = read_all(other_file)
    assert (plain.hashes == other.hashes).all()
    assert plain.payload.tolist() == other.payload.tolist()
    assert plain.frame.equals(other.frame)
    assert (plain.line_numbers == other.line_numbers).all()
    check_agreement(other_file)


@pytest.mark.parametrize("table", sorted(SOURCE_TABLES))
def test_columns_that_an_older_export_lacks_are_as_empty_ones(tmp_path: Path, table: str) -> None:
    facts = SOURCE_TABLES[table]
    needed = [column.name for column in facts.columns if column.required_in_header]
    rows = [{name: f"{number}" for name in needed} for number in range(3)]
    plain = "".join(",".join(line) + "\n" for line in [facts.header, *([row.get(name, "") for name in facts.header] for row in rows)])
    older = "".join(",".join(line) + "\n" for line in [needed, *([row[name] for name in needed] for row in rows)])
    quoted = older.replace("\n0", '\n"0"', 1)  # read with care, field by field
    expected = hash_records(open_file(tmp_path, table, plain.encode())).hashes
    for text in (older, quoted):
        assert (hash_records(open_file(tmp_path, table, text.encode())).hashes == expected).all()


def test_identical_rows_have_identical_hashes_and_others_not(tmp_path: Path) -> None:
    hashes = hash_records(conditions(tmp_path, *ROWS)).hashes
    assert (hashes[0] == hashes[3]).all()
    assert len(np.unique(hashes, axis=0)) == 3


def test_frame_has_text_columns_and_null_for_empty(tmp_path: Path) -> None:
    frame = read_all(conditions(tmp_path, *ROWS)).frame
    assert frame.columns == NAMES
    assert frame["stop"].to_list() == [None, "2020-02-01", None, None]
    assert frame["description"].to_list() == ["Cough", "Café", "back\\slash \\. and \t tab", "Cough"]


def test_values_that_other_readers_turn_into_null_or_numbers_stay_text(tmp_path: Path) -> None:
    frame = read_all(conditions(tmp_path, b"NA,None,null,NULL,nan,00123,1e5", b"\\N, ,-,#,//,0x1,true")).frame
    assert frame.rows() == [("NA", "None", "null", "NULL", "nan", "00123", "1e5"), ("\\N", " ", "-", "#", "//", "0x1", "true")]


def test_copy_lines_escape_what_text_format_reads_otherwise(tmp_path: Path) -> None:
    record = b'2020-01-01,,p1,e1,"a,b","say ""x""","one\r\ntwo\\"'
    chunk = read_all(conditions(tmp_path, record))
    assert chunk.payload.tolist() == [b'2020-01-01,,p1,e1,a\\,b,say "x",one\\ntwo\\\\']
    assert chunk.frame.row(0) == ("2020-01-01", None, "p1", "e1", "a,b", 'say "x"', "one\ntwo\\")
    assert read_all(conditions(tmp_path, ROWS[2])).payload.tolist() == [b"2020-01-03,,p3,e3,,789,back\\\\slash \\\\. and \t tab"]


def test_quoted_line_break_spans_blocks_and_line_numbers_go_on(tmp_path: Path) -> None:
    long_text = b'"' + b"line of text\n" * 20_000 + b'end"'
    file = conditions(tmp_path, ROWS[0], b"2020-01-01,,p1,e1,,1," + long_text, ROWS[1])
    chunk = read_all(file)
    assert chunk.line_numbers.tolist() == [2, 3, 3 + 20_000 + 1]
    assert chunk.frame["description"][1] == "line of text\n" * 20_000 + "end"
    check_agreement(file)


def test_quote_inside_a_text_is_text(tmp_path: Path) -> None:
    chunk = read_all(conditions(tmp_path, b'2020-01-01,,p1,e1,,1,needle 5/8" long'))
    assert not chunk.bad
    assert chunk.frame["description"].to_list() == ['needle 5/8" long']
    assert chunk.payload.tolist() == [b'2020-01-01,,p1,e1,,1,needle 5/8" long']


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        pytest.param(b"2020-01-01,,p1", "field_count", id="too few"),
        pytest.param(ROWS[0] + b",", "field_count", id="too many"),
        pytest.param(b"", "field_count", id="blank line"),
        pytest.param(b"\\.", "copy_end", id="end of COPY"),
        pytest.param(b"2020-01-01,,p1,e1,,1,\xf3", "encoding", id="Latin-1"),
        pytest.param(b"2020-01-01,,p1,e1,,1,\xed\xa0\x80", "encoding", id="surrogate"),
        pytest.param(b"2020-01-01,,p1,e1,,1,\0", "nul", id="zero byte"),
        pytest.param(b'2020-01-01,,p1,e1,,1,"\0"', "nul", id="zero byte in quotes"),
        pytest.param(b"2020-01-01,,p1,e1,,1,a\rb", "line_break", id="lone CR"),
        pytest.param(b'"2020-01-01,,p1,e1,,1,x', "quote", id="open quote"),
        pytest.param(b'"2020-01-01"x,,p1,e1,,1,x', "quote", id="text behind a quote"),
        pytest.param(b'2020-01-01,,p1,e1,,1,"x",', "field_count", id="too many with quotes"),
    ],
)
def test_bad_record_is_kept_apart_and_its_neighbours_are_read(tmp_path: Path, record: bytes, rule: str) -> None:
    file = conditions(tmp_path, ROWS[0], record, ROWS[1], ROWS[2])
    chunk = read_all(file)
    assert chunk.indexes.tolist() == [0, 2, 3]
    assert chunk.line_numbers.tolist() == [2, 4, 5]
    assert [(bad.index, bad.line, bad.rule, bad.record) for bad in chunk.bad] == [(1, 3, rule, record)]
    assert chunk.frame["code"].to_list() == ["123", "456", "789"]
    check_agreement(file)


def test_two_stray_quotes_do_not_swallow_what_is_between(tmp_path: Path) -> None:
    file = conditions(tmp_path, b'"' + ROWS[0], *[ROWS[1]] * 5, b'"' + ROWS[2], ROWS[3])
    chunk = read_all(file)
    assert [bad.line for bad in chunk.bad] == [2, 8]
    assert len(chunk.frame) == 6
    check_agreement(file)


def test_stray_quote_costs_one_record_in_a_large_file(tmp_path: Path) -> None:
    file = conditions(tmp_path, b'"' + ROWS[0], *[ROWS[1]] * 60_000)
    assert hash_records(file).bad_count == 1
    assert len(hash_records(file).hashes) == 60_001
    check_agreement(file, chunk_rows=7_000)


def test_bad_record_has_the_same_hash_in_every_spelling_of_the_file(tmp_path: Path) -> None:
    short = b"2020-01-01,,p1"
    plain = hash_records(conditions(tmp_path, ROWS[0], short)).hashes
    crlf = hash_records(conditions(tmp_path, ROWS[0], short, end=b"\r\n")).hashes
    assert (plain == crlf).all()


def test_bad_record_never_hashes_like_a_row(tmp_path: Path) -> None:
    # A transaction with three fields too few has as many fields as the canonical line of a whole one.
    header = ",".join(SOURCE_TABLES["claims_transactions"].header).encode()
    whole = [b"%d" % at for at in range(33)]
    whole[6] = b"COPAY"
    cut = [value for at, value in enumerate(whole) if at not in (0, 2, 21)]
    file = open_file(tmp_path, "claims_transactions", b"\n".join([header, b",".join(whole), b",".join(cut), b""]))
    hashes = hash_records(file)
    assert hashes.bad_count == 1
    assert (hashes.hashes[0] != hashes.hashes[1]).all()


@pytest.mark.parametrize("content", [b"\n2020-01-01,,p1,e1,,1,x", b'\n2020-01-01,,p1,e1,,1,"x\ny'], ids=["plain", "in a quote"])
def test_file_cut_within_a_line_is_refused(tmp_path: Path, content: bytes) -> None:
    file = open_file(tmp_path, "conditions", CONDITIONS.encode() + content)
    with pytest.raises(SourceFileError, match="ends in the middle of a line") as caught:
        hash_records(file)
    assert caught.value.rule == "truncated"


def test_line_without_end_is_refused_before_memory_fills(tmp_path: Path) -> None:
    file = open_file(tmp_path, "conditions", CONDITIONS.encode() + b"\n" + b"x" * 5_000_000 + b"\n")
    with pytest.raises(SourceFileError, match="no line end within"):
        hash_records(file)


def test_header_only_file_has_no_record(tmp_path: Path) -> None:
    file = conditions(tmp_path)
    assert hash_records(file).hashes.shape == (0, 2)
    assert list(read_chunks(file)) == []


def test_each_wanted_record_is_found_in_blocks_with_and_without_quotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quoted = b'2020-01-01,,p1,e1,SNOMED-CT,%d,"two\nlines, and ""more"""'
    plain = b"2020-01-02,,p2,e2,SNOMED-CT,%d,one line"
    file = conditions(tmp_path, *(text % number for number, text in enumerate([plain, quoted, plain, plain, quoted, quoted, plain, plain])))
    monkeypatch.setattr(snapshot, "BLOCK_BYTES", 96)  # one or two records
    whole = read_all(file)
    assert whole.line_numbers.tolist() == [2, 3, 5, 6, 7, 9, 11, 12]
    for place in range(8):
        chunk = read_all(file, want=np.arange(8) == place)
        assert (chunk.indexes.tolist(), chunk.line_numbers.tolist()) == ([place], [whole.line_numbers[place]])
        assert (chunk.hashes == whole.hashes[place]).all()


def test_wanted_records_come_with_their_places(tmp_path: Path) -> None:
    records = [ROWS[0], b"bad", ROWS[1], ROWS[2], b"worse", ROWS[3]]
    file = conditions(tmp_path, *records)
    want = np.array([False, True, False, True, False, True])
    chunk = read_all(file, want=want)
    assert chunk.indexes.tolist() == [3, 5]
    assert chunk.line_numbers.tolist() == [5, 7]
    assert [bad.index for bad in chunk.bad] == [1]
    assert chunk.payload.tolist()[0].endswith(b"back\\\\slash \\\\. and \t tab")
    assert (chunk.hashes == hash_records(file).hashes[[3, 5]]).all()
    assert list(read_chunks(file, want=np.zeros(6, dtype=bool))) == []


def transactions(folder: Path, order: list[int], rows: list[list[str]], end: str = "\n") -> SourceFile:
    names = SOURCE_TABLES["claims_transactions"].header
    records = [[names[at] for at in order], *([row[at] for at in order] for row in rows)]
    return open_file(folder, "claims_transactions", "".join(",".join(record) + end for record in records).encode())


def transaction(**fields: str) -> list[str]:
    return [fields.get(name, f"v{at}") for at, name in enumerate(SOURCE_TABLES["claims_transactions"].header)]


def test_volatile_columns_do_not_count_and_the_method_is_folded(tmp_path: Path) -> None:
    rows = [
        transaction(METHOD="CASH"),
        transaction(METHOD="CHECK", ID="new", CHARGEID="7", TRANSFEROUTID=""),
        transaction(METHOD="ECHECK"),
        transaction(METHOD="COPAY"),
        transaction(METHOD=""),
    ]
    chunk = read_all(transactions(tmp_path, list(range(33)), rows))
    assert (chunk.hashes[0] == chunk.hashes[1]).all()
    assert len(np.unique(chunk.hashes, axis=0)) == 4
    assert chunk.frame["method"].to_list() == ["OTHER", "OTHER", "ECHECK", "COPAY", None]
    assert "chargeid" not in chunk.frame.columns
    assert chunk.payload.tolist()[0].count(b",") == 29


def test_cut_lines_agree_with_every_column_order_and_line_end(tmp_path: Path) -> None:
    rows = [transaction(METHOD=method, AMOUNT=str(at)) for at, method in enumerate(["CASH", "", "COPAY", "ECHECK", "CC"])]
    plain = read_all(transactions(tmp_path, list(range(33)), rows))
    source = random.Random(1)
    for end in ("\n", "\r\n"):
        order = source.sample(range(33), 33)
        other = read_all(transactions(tmp_path, order, rows, end))
        assert (plain.hashes == other.hashes).all()
        assert plain.payload.tolist() == other.payload.tolist()


@pytest.mark.parametrize(
    ("start", "end", "folded"),
    [
        pytest.param("2022", "2023", ("2022-01-01T00:00:00Z", "2023-12-31T23:59:59Z"), id="years of 2.x"),
        pytest.param("2022-03-01T01:02:03Z", "292278994-08-17T07:12:55Z", ("2022-03-01T01:02:03Z", None), id="largest date of Java"),
        pytest.param("2022-03-01T01:02:03Z", "+292278994-08-17T07:12:55Z", ("2022-03-01T01:02:03Z", None), id="with a plus"),
        pytest.param("2022-03-01T01:02:03Z", "", ("2022-03-01T01:02:03Z", None), id="open"),
        pytest.param("20220", "202", ("20220", "202"), id="no year: left for validation"),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["plain", "careful"])
def test_periods_of_payer_transitions_are_folded(tmp_path: Path, start: str, end: str, folded: tuple[str | None, ...], line_end: str) -> None:
    content = f"PATIENT,START_YEAR,END_YEAR,PAYER,OWNERSHIP{line_end}p,{start},{end},y,Self{line_end}"
    frame = read_all(open_file(tmp_path, "payer_transitions", content.encode())).frame
    assert frame.select("start_date", "end_date").row(0) == folded
    assert frame["plan_ownership"].to_list() == ["Self"]
    assert frame["memberid"].to_list() == [None]


def test_chunks_end_where_blocks_end_and_cover_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "BLOCK_BYTES", 1 << 17)
    file = conditions(tmp_path, *ROWS * 5_000)
    chunks = list(read_chunks(file, chunk_rows=3_000))
    assert len(chunks) > 2
    assert np.concatenate([chunk.indexes for chunk in chunks]).tolist() == list(range(20_000))
    check_agreement(file, chunk_rows=3_000)
