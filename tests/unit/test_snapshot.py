import gzip
import hashlib
import json
import os
from datetime import date
from pathlib import Path

import pytest

from omop_inc.errors import SourceFileError
from omop_inc.source import snapshot as snapshot_module
from omop_inc.source.digests import digest_file
from omop_inc.source.records import hash_records
from omop_inc.source.snapshot import open_snapshot, read_blocks
from omop_inc.source.tables import SOURCE_TABLES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("patients", "encounters"):
        (tmp_path / f"{name}.csv").write_text(",".join(SOURCE_TABLES[name].header) + "\n")
    return tmp_path


def refuse(folder: Path, rule: str, *words: str, **options: str) -> SourceFileError:
    with pytest.raises(SourceFileError) as caught:
        open_snapshot(folder, **options)  # type: ignore[arg-type]
    assert caught.value.rule == rule
    assert caught.value.exit_code == 2
    for word in words:
        assert word in str(caught.value)
    return caught.value


def test_files_come_in_dependency_order_and_absent_ones_are_named(folder: Path) -> None:
    snapshot = open_snapshot(folder)
    assert list(snapshot.files) == ["patients", "encounters"]
    assert len(snapshot.absent) == 16
    assert snapshot.snapshot_date is None
    assert not snapshot.other_files


def test_file_names_in_any_case_and_gz_are_found(folder: Path) -> None:
    (folder / "patients.csv").rename(folder / "Patients.CSV")
    plain = (folder / "encounters.csv").read_bytes()
    (folder / "encounters.csv").unlink()
    (folder / "Encounters.csv.GZ").write_bytes(gzip.compress(plain))
    files = open_snapshot(folder).files
    assert not files["patients"].is_compressed
    assert files["encounters"].is_compressed
    assert b"".join(read_blocks(files["encounters"])) == plain


def test_other_csv_files_are_listed_and_other_names_ignored(folder: Path) -> None:
    (folder / "cpt4.csv").write_text("x\n")
    (folder / "notes.txt").write_text("x\n")
    assert open_snapshot(folder).other_files == ("cpt4.csv",)


def test_one_table_in_two_files_is_refused(folder: Path) -> None:
    (folder / "patients.csv.gz").write_bytes(gzip.compress(b"x\n"))
    refuse(folder, "two_files", "'patients.csv'", "'patients.csv.gz'")


def test_folder_without_known_files_says_what_was_expected(tmp_path: Path) -> None:
    refuse(tmp_path, "missing_file", "patients.csv", "encounters.csv", "output/csv")


def test_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    refuse(tmp_path / "none", "folder", "none")


def test_symbolic_link_is_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    target = tmp_path_factory.mktemp("elsewhere") / "conditions.csv"
    target.write_text("START\n")
    (folder / "conditions.csv").symlink_to(target)
    refuse(folder, "not_regular", "symbolic link")


@pytest.mark.parametrize("make", [pytest.param(Path.mkdir, id="folder"), pytest.param(os.mkfifo, id="fifo")])
def test_what_is_no_regular_file_is_refused(folder: Path, make) -> None:
    make(folder / "conditions.csv")
    refuse(folder, "not_regular", "'conditions.csv'")


def header(folder: Path, line: str, **options: str) -> snapshot_module.Snapshot:
    (folder / "conditions.csv").write_bytes(line.encode())
    return open_snapshot(folder, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("START,STOP,PATIENT,ENCOUNTER,SYSTEM,CODE,DESCRIPTION\n", id="newest"),
        pytest.param("START,STOP,PATIENT,ENCOUNTER,CODE,DESCRIPTION\n", id="older: no SYSTEM"),
        pytest.param("start,Stop,patient,encounter,code,description\n", id="other case"),
        pytest.param("\ufeffSTART,STOP,PATIENT,ENCOUNTER,CODE,DESCRIPTION\n", id="BOM"),
        pytest.param("START,STOP,PATIENT,ENCOUNTER,CODE,DESCRIPTION\r\n", id="CRLF"),
        pytest.param('"START","STOP","PATIENT","ENCOUNTER","CODE","DESCRIPTION"\n', id="quoted"),
        pytest.param("DESCRIPTION,CODE,ENCOUNTER,PATIENT,STOP,START\n", id="other order"),
    ],
)
def test_header_forms_that_are_read(folder: Path, line: str) -> None:
    mapping = header(folder, line).files["conditions"].header
    assert len([position for position in mapping.positions if position >= 0]) == mapping.width


def test_canonical_header_is_recognised(folder: Path) -> None:
    assert header(folder, "start,STOP,PATIENT,ENCOUNTER,SYSTEM,CODE,DESCRIPTION\n").files["conditions"].is_canonical
    assert not header(folder, "START,STOP,PATIENT,ENCOUNTER,CODE,SYSTEM,DESCRIPTION\n").files["conditions"].is_canonical


def test_older_name_lands_in_the_newest_column(folder: Path) -> None:
    (folder / "procedures.csv").write_text("DATE,PATIENT,ENCOUNTER,CODE,DESCRIPTION,COST\n")
    mapping = open_snapshot(folder).files["procedures"].header
    assert dict(zip(SOURCE_TABLES["procedures"].staged, mapping.positions, strict=True))["start"] == 0
    assert dict(zip(SOURCE_TABLES["procedures"].staged, mapping.positions, strict=True))["base_cost"] == 5


def test_unknown_column_is_refused_with_both_lists(folder: Path) -> None:
    (folder / "conditions.csv").write_text("START,STOP,PATIENT,ENCOUNTER,CODE,ZETA,ALPHA\n")
    error = refuse(folder, "unknown_column", "['ALPHA', 'ZETA']", "'DESCRIPTION'", "ignore")
    assert (error.table, error.file, error.line) == ("conditions", "conditions.csv", 1)


def test_unknown_column_is_left_unread_by_choice(folder: Path) -> None:
    snapshot = header(folder, "ZETA,START,STOP,PATIENT,ENCOUNTER,CODE\n", unknown_columns="ignore")
    assert snapshot.ignored_columns == {"conditions": ("ZETA",)}
    assert snapshot.files["conditions"].header.positions == (1, 2, 3, 4, -1, 5, -1)


def test_missing_required_column_is_refused_with_both_lists(folder: Path) -> None:
    (folder / "conditions.csv").write_text("STOP,PATIENT,ENCOUNTER,DESCRIPTION\n")
    refuse(folder, "missing_column", "['CODE', 'START']", "['DESCRIPTION', 'ENCOUNTER', 'PATIENT', 'STOP']")


@pytest.mark.parametrize("line", ["START,START,STOP,PATIENT,ENCOUNTER,CODE", "START,DATE,STOP,PATIENT,ENCOUNTER,CODE"])
def test_column_twice_under_one_name_or_two_is_refused(folder: Path, line: str) -> None:
    (folder / "procedures.csv").write_text(line + "\n")
    refuse(folder, "repeated_column", "['START']")


@pytest.mark.parametrize("content", [b"START,STOP", b"\xff\xfe\n", b'"START\n', b"\n"], ids=["no line end", "not UTF-8", "open quote", "blank"])
def test_first_line_that_is_no_header_is_refused(folder: Path, content: bytes) -> None:
    (folder / "conditions.csv").write_bytes(content)
    with pytest.raises(SourceFileError, match=r"header|missing"):
        open_snapshot(folder)


def test_endless_first_line_is_refused(folder: Path) -> None:
    (folder / "conditions.csv").write_bytes(b"A," * 10_000_000)
    refuse(folder, "truncated", "header")


def test_file_of_no_bytes_is_an_empty_table_for_the_guards_to_judge(folder: Path) -> None:
    (folder / "conditions.csv").write_bytes(b"")
    file = open_snapshot(folder).files["conditions"]
    assert file.is_empty
    assert len(hash_records(file).hashes) == 0
    assert digest_file(file).size_bytes == 0


def test_damaged_gz_is_refused(folder: Path) -> None:
    whole = gzip.compress(b"START,STOP,PATIENT,ENCOUNTER,CODE\n" + os.urandom(400_000).hex().encode() + b"\n")
    for damaged in (whole[: len(whole) // 2], whole[:-4], b"no gzip at all", whole[:200_000] + b"\0" * 100 + whole[200_100:]):
        (folder / "conditions.csv.gz").write_bytes(damaged)
        with pytest.raises(SourceFileError, match="damaged") as caught:
            digest_file(open_snapshot(folder).files["conditions"])
        assert caught.value.rule == "gzip"


def test_gz_that_expands_too_far_is_refused(folder: Path) -> None:
    text = b"START,STOP,PATIENT,ENCOUNTER,CODE\n" + b",,,,\n" * 8_000_000
    (folder / "conditions.csv.gz").write_bytes(gzip.compress(text, 1))
    with pytest.raises(SourceFileError, match="expands to more than 100 times") as caught:
        digest_file(open_snapshot(folder).files["conditions"])
    assert caught.value.rule == "gzip_ratio"


def test_small_gz_may_expand_as_it_likes(folder: Path) -> None:
    (folder / "conditions.csv.gz").write_bytes(gzip.compress(b"START,STOP,PATIENT,ENCOUNTER,CODE\n" + b",,,,\n" * 100_000))
    assert len(hash_records(open_snapshot(folder).files["conditions"]).hashes) == 100_000


def test_file_that_changes_after_opening_is_refused(folder: Path) -> None:
    file = open_snapshot(folder).files["patients"]
    with (folder / "patients.csv").open("a") as stream:
        stream.write("x\n")
    with pytest.raises(SourceFileError, match="changed while it was being read"):
        digest_file(file)


def test_file_that_is_replaced_after_opening_is_refused(folder: Path) -> None:
    file = open_snapshot(folder).files["patients"]
    (folder / "new").write_bytes((folder / "patients.csv").read_bytes())
    (folder / "new").replace(folder / "patients.csv")
    with pytest.raises(SourceFileError, match="changed while it was being read"):
        hash_records(file)


def write_manifest(folder: Path, **facts: object) -> None:
    (folder / "manifest.json").write_text(json.dumps(facts))


def test_manifest_that_is_right_is_accepted(folder: Path) -> None:
    content = (folder / "patients.csv").read_bytes()
    facts = {"size": len(content), "rows": 0, "sha256": hashlib.sha256(content).hexdigest().upper()}
    write_manifest(folder, snapshot_date="2024-05-01", files={"patients.csv": facts})
    snapshot = open_snapshot(folder)
    assert snapshot.snapshot_date == date(2024, 5, 1)
    digest_file(snapshot.files["patients"])
    hash_records(snapshot.files["patients"])


def test_manifest_counts_the_bytes_of_a_gz_as_it_lies_there(folder: Path) -> None:
    content = gzip.compress(b"START,STOP,PATIENT,ENCOUNTER,CODE\n")
    (folder / "conditions.csv.gz").write_bytes(content)
    write_manifest(folder, files={"conditions.csv.gz": {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}})
    digest_file(open_snapshot(folder).files["conditions"])


@pytest.mark.parametrize("facts", [{"size": 1}, {"rows": 7}, {"sha256": "0" * 64}], ids=str)
def test_file_that_is_not_what_the_manifest_says_is_refused(folder: Path, facts: dict[str, object]) -> None:
    write_manifest(folder, files={"patients.csv": facts})
    with pytest.raises(SourceFileError, match=r"manifest\.json") as caught:
        file = open_snapshot(folder).files["patients"]
        digest_file(file)
        hash_records(file)
    assert caught.value.rule == "manifest"


def test_file_that_only_the_manifest_has_is_refused(folder: Path) -> None:
    write_manifest(folder, files={"claims.csv": {}})
    refuse(folder, "manifest", "claims.csv", "lacks")


@pytest.mark.parametrize("text", ["{", "[]", '{"snapshot_date": "yesterday"}', '{"files": {"patients.csv": {"size": "1"}}}', '{"files": 3}'])
def test_manifest_that_cannot_be_read_is_refused(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    refuse(folder, "manifest", "cannot be read", "every part optional")
