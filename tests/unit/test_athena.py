import zipfile
from pathlib import Path

import pytest

from omop_inc.cdm import athena, spec
from omop_inc.errors import VocabularyError
from tests.athena_folder import HEADERS, make_athena, table_text

DOMAIN_ROWS = [("Drug", "Drug", 13), ("Unit", 'Unit "of" measure', 16)]


def read_domain(path: Path) -> tuple[athena.LineBlocks, bytes]:
    file = athena.find_files(path)["domain"]
    with athena.open_file(path, file) as stream:
        blocks = athena.LineBlocks(stream, file, spec.cdm_tables()["domain"], athena.ContentDigest())
        return blocks, b"".join(blocks)


def write_domain(folder: Path, content: bytes) -> Path:
    make_athena(folder)
    (folder / "DOMAIN.csv").write_bytes(content)
    return folder


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(table_text("DOMAIN", DOMAIN_ROWS).encode(), id="as Athena writes it"),
        pytest.param(table_text("DOMAIN", DOMAIN_ROWS).replace("\n", "\r\n").encode(), id="CRLF"),
        pytest.param(b"\xef\xbb\xbf" + table_text("DOMAIN", DOMAIN_ROWS).encode(), id="BOM"),
        pytest.param(table_text("DOMAIN", DOMAIN_ROWS).rstrip("\n").encode(), id="no last line end"),
        pytest.param(table_text("DOMAIN", DOMAIN_ROWS).encode() + b"\n\r\n", id="empty lines behind"),
        pytest.param(table_text("DOMAIN", DOMAIN_ROWS).replace("domain_id", "DOMAIN_ID").encode(), id="header in capitals"),
    ],
)
def test_line_blocks_are_whole_records_whatever_the_line_ends(tmp_path: Path, content: bytes) -> None:
    blocks, data = read_domain(write_domain(tmp_path, content))
    assert blocks.columns == ("domain_id", "domain_name", "domain_concept_id")
    assert data == b'Drug\tDrug\t13\nUnit\tUnit "of" measure\t16\n'
    assert blocks.lines == 2


def test_line_blocks_over_many_blocks_keep_every_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(f"d{i}", "é" * (i % 50), i) for i in range(500)]
    content = table_text("DOMAIN", rows).encode()
    monkeypatch.setattr(athena, "BLOCK_BYTES", 17)
    blocks, data = read_domain(write_domain(tmp_path, content))
    assert data == content.partition(b"\n")[2]
    assert blocks.lines == 500


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"domain_id\tdomain_name\n", r"'DOMAIN.csv', line 1: expected the tab separated columns domain_id, .* but got missing 'domain_concept_id'"),
        (b"domain_id\tdomain_name\tdomain_concept_id\tx\n", "but got unknown 'x'"),
        (b"domain_id\tdomain_name\tdomain_concept_id\tdomain_id\n", "but got a name twice"),
        (b"domain_id,domain_name,domain_concept_id\n", "missing 'domain_concept_id', 'domain_id', 'domain_name'"),
        (b"", "missing 'domain_concept_id'"),
        (table_text("DOMAIN", [("a", "b", 1), ("c", "d")]).encode(), "'DOMAIN.csv', line 3: expected 3 tab separated fields but got 2. Download"),
        # One line short and one long: the block's sum is right, the server would say so; an end mark would hide it.
        (table_text("DOMAIN", [("\\.",), ("a", "b", 1, "", "")]).encode(), "line 2: expected 3 tab separated fields but got 1"),
        (table_text("DOMAIN", [("a", "b\bc", 1)]).encode(), "line 2: expected text without control characters"),
        (table_text("DOMAIN", [("a", "b\rc", 1)]).encode(), "line 2: expected text without control characters"),
        (table_text("DOMAIN", [("a", "b\0c", 1)]).encode(), "line 2: expected text without control characters"),
    ],
)
def test_line_blocks_damaged_file_is_named_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(VocabularyError, match=message):
        read_domain(write_domain(tmp_path, content))


def test_line_blocks_endless_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match="line 2: expected a line end but got none in"):
        read_domain(write_domain(tmp_path, " ".join(HEADERS["DOMAIN"].split()).replace(" ", "\t").encode() + b"\n" + b"x" * (3 << 20)))
    with pytest.raises(VocabularyError, match="line 1: expected a line end but got none in"):
        read_domain(write_domain(tmp_path, b"x" * (3 << 20)))


def test_find_files_missing_file_is_named_with_what_is_there(tmp_path: Path) -> None:
    make_athena(tmp_path)
    (tmp_path / "CONCEPT.csv").unlink()
    with pytest.raises(VocabularyError, match=r"expected CONCEPT.csv, found .*'DOMAIN.csv'"):
        athena.find_files(tmp_path)


def test_find_files_takes_any_case_and_ignores_other_files(tmp_path: Path) -> None:
    make_athena(tmp_path)
    (tmp_path / "CONCEPT.csv").rename(tmp_path / "Concept.CSV")
    (tmp_path / "CONCEPT_CPT4.csv").write_text("", encoding="utf-8")
    (tmp_path / "readme.txt").write_text("", encoding="utf-8")
    assert sorted(athena.find_files(tmp_path)) == ["concept", "concept_relationship", "domain", "vocabulary"]


def test_find_files_two_files_of_one_table_are_refused(tmp_path: Path) -> None:
    make_athena(tmp_path)
    (tmp_path / "domain.csv").write_bytes((tmp_path / "DOMAIN.csv").read_bytes())
    with pytest.raises(VocabularyError, match=r"'DOMAIN.csv' and 'domain.csv' are both domain"):
        athena.find_files(tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "file.txt"])
def test_find_files_neither_folder_nor_zip_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.txt").write_text("no zip", encoding="utf-8")
    with pytest.raises(VocabularyError, match="expected a folder or a zip downloaded from Athena"):
        athena.find_files(tmp_path / name)


def make_zip(folder: Path, target: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir(), reverse=True):
            archive.write(path, prefix + path.name)
        archive.writestr("__MACOSX/._CONCEPT.csv", "not ours")
    return target


def test_path_fingerprint_is_of_the_content_alone(tmp_path: Path) -> None:
    folder = make_athena(tmp_path / "a")
    first = athena.path_fingerprint(folder)
    assert athena.path_fingerprint(make_athena(tmp_path / "b")) == first
    assert athena.path_fingerprint(make_zip(folder, tmp_path / "v.zip", "vocabulary_download/")) == first
    assert athena.path_fingerprint(make_athena(tmp_path / "c", version="v5.0 31-AUG-24")) != first


def test_path_fingerprint_damaged_zip_is_refused(tmp_path: Path) -> None:
    path = make_zip(make_athena(tmp_path / "a"), tmp_path / "v.zip")
    data = bytearray(path.read_bytes())
    data[60:80] = b"\0" * 20
    path.write_bytes(data)
    with pytest.raises(VocabularyError, match="cannot be read to its end"):
        athena.path_fingerprint(path)


def test_find_files_zip_bomb_is_refused(tmp_path: Path) -> None:
    folder = make_athena(tmp_path / "a")
    (folder / "CONCEPT_SYNONYM.csv").write_bytes(b"0" * (athena.SMALL_FILE_BYTES + 1))
    with pytest.raises(VocabularyError, match="grows more than 500 times when unpacked"):
        athena.find_files(make_zip(folder, tmp_path / "v.zip"))
