import os
import zipfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest

from omop_inc.cdm import athena, spec, vocabulary
from omop_inc.cdm.vocabulary import current_fingerprint, load_vocabulary, release_date, stored_vocabulary
from omop_inc.errors import VocabularyError
from tests.athena_folder import concept, make_athena, maps_to, own_code

Connection = psycopg.Connection[Any]


def column(connection: Connection, statement: str) -> list[Any]:
    with connection.transaction():
        return [row[0] for row in connection.execute(statement).fetchall()]


def execute(connection: Connection, statement: str) -> None:
    with connection.transaction():
        connection.execute(statement)


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    with psycopg.connect(database) as connected:
        yield connected


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_athena(tmp_path / "athena", [concept(1, "A1", name='5" \\N \\. "quoted'), concept(2, "a")], [maps_to(1, 1), maps_to(2, 1)])


def test_load_vocabulary_makes_every_vocabulary_table_with_keys_and_statistics(connection: Connection, folder: Path) -> None:
    info = load_vocabulary(connection, folder, "words")
    tables = column(connection, "SELECT tablename::text FROM pg_tables WHERE schemaname = 'words'")
    assert set(tables) == {table.name for table in spec.tables_of("vocab")} | {"omop_inc_vocabulary", "code_map_digest"}
    assert (info.version, info.release_date, info.is_new) == ("v5.0 30-AUG-24", date(2024, 8, 30), True)
    assert info.rows == {"concept": 3, "concept_relationship": 3, "vocabulary": 1, "domain": 1}
    assert info.fingerprint == athena.path_fingerprint(folder)
    assert column(connection, "SELECT conname::text FROM pg_constraint WHERE conrelid = 'words.concept'::regclass AND contype = 'p'") == [
        "pk_concept"
    ]
    assert column(connection, "SELECT reltuples::int FROM pg_class WHERE oid = 'words.concept'::regclass") == [3]
    assert column(connection, "SELECT nspname::text FROM pg_namespace WHERE nspname = 'words_next'") == []


def test_load_vocabulary_takes_text_as_it_is_and_empty_as_null_where_null_may_be(connection: Connection, tmp_path: Path) -> None:
    folder = make_athena(tmp_path / "a", [concept(1, "", name='5" \\N \\. "quoted', standard=""), concept(2, "\\t \\", name="é")])
    load_vocabulary(connection, folder)
    with connection.transaction():
        rows = connection.execute(
            "SELECT concept_name, standard_concept, concept_code, invalid_reason FROM vocab.concept ORDER BY concept_id"
        ).fetchall()
    assert rows[1:] == [('5" \\N \\. "quoted', None, "", None), ("é", "S", "\\t \\", None)]


def test_load_vocabulary_goes_by_column_name(connection: Connection, folder: Path) -> None:
    text = (folder / "DOMAIN.csv").read_text(encoding="utf-8")
    lines = ["\t".join(reversed(line.split("\t"))) for line in text.splitlines()]
    (folder / "DOMAIN.csv").write_text("\n".join(lines), encoding="utf-8")
    load_vocabulary(connection, folder)
    assert column(connection, "SELECT domain_id || domain_concept_id FROM vocab.domain") == ["Metadata0"]


def test_load_vocabulary_again_writes_nothing(connection: Connection, folder: Path) -> None:
    first = load_vocabulary(connection, folder)
    before = column(connection, "SELECT xmin::text FROM vocab.omop_inc_vocabulary UNION ALL SELECT xmin::text FROM vocab.concept")
    os.utime(folder / "CONCEPT.csv", (1, 1))  # a copy with other times is the same vocabulary
    second = load_vocabulary(connection, folder)
    assert (second.is_new, second.fingerprint, second.rows) == (False, first.fingerprint, first.rows)
    assert column(connection, "SELECT xmin::text FROM vocab.omop_inc_vocabulary UNION ALL SELECT xmin::text FROM vocab.concept") == before


def test_load_vocabulary_zip_is_the_same_as_its_folder(connection: Connection, folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "v.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    load_vocabulary(connection, tmp_path / "v.zip")
    assert load_vocabulary(connection, folder).is_new is False


def test_load_vocabulary_changed_replaces_the_old_one(connection: Connection, folder: Path, tmp_path: Path) -> None:
    load_vocabulary(connection, folder)
    info = load_vocabulary(connection, make_athena(tmp_path / "b", [concept(7, "G")], version="v5.0 28-FEB-25"))
    assert (info.is_new, info.version) == (True, "v5.0 28-FEB-25")
    assert column(connection, "SELECT concept_id FROM vocab.concept ORDER BY 1") == [0, 7]
    assert stored_vocabulary(connection, "vocab") == stored_vocabulary(connection, "vocab")


def test_load_vocabulary_keeps_views_foreign_keys_and_grants(connection: Connection, folder: Path, tmp_path: Path) -> None:
    load_vocabulary(connection, folder)
    for statement in (
        "CREATE TABLE condition (concept_id integer CONSTRAINT known REFERENCES vocab.concept DEFERRABLE INITIALLY DEFERRED)",
        "INSERT INTO condition VALUES (2)",
        "CREATE VIEW name AS SELECT concept_id, concept_name FROM vocab.concept",
        "CREATE VIEW name_count AS SELECT count(*) AS names FROM name",
        "GRANT SELECT ON vocab.concept TO PUBLIC",
    ):
        execute(connection, statement)
    load_vocabulary(connection, make_athena(tmp_path / "b", [concept(7, "G")]))
    assert column(connection, "SELECT names FROM name_count") == [2]
    assert column(connection, "SELECT has_table_privilege('pg_monitor', 'vocab.concept', 'SELECT')") == [True]
    execute(connection, "INSERT INTO condition VALUES (7)")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        execute(connection, "INSERT INTO condition VALUES (2)")


def test_load_vocabulary_drops_what_a_killed_load_left(connection: Connection, folder: Path) -> None:
    execute(connection, "CREATE SCHEMA vocab_next")
    execute(connection, "CREATE TABLE vocab_next.concept (half integer)")
    assert load_vocabulary(connection, folder).is_new


def test_load_vocabulary_failed_load_leaves_the_old_one_in_use(connection: Connection, folder: Path, tmp_path: Path) -> None:
    load_vocabulary(connection, folder)
    bad = make_athena(tmp_path / "b", [concept(1, "x"), concept(1, "y")])
    with pytest.raises(VocabularyError, match=r"'CONCEPT.csv': a concept_id occurs twice"):
        load_vocabulary(connection, bad)
    assert column(connection, "SELECT count(*) FROM vocab.concept") == [3]
    assert load_vocabulary(connection, folder).is_new is False


def concept_line(**changes: str) -> str:
    values = {
        "concept_id": "5",
        "concept_name": "n",
        "domain_id": "Drug",
        "vocabulary_id": "SNOMED",
        "concept_class_id": "c",
        "standard_concept": "S",
        "concept_code": "x",
        "valid_start_date": "19700101",
        "valid_end_date": "20991231",
        "invalid_reason": "",
    }
    return "\t".join((values | changes).values())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (concept_line(valid_start_date="1970-13-41"), r"'CONCEPT.csv', line 3, column 'valid_start_date': expected a date as yyyymmdd"),
        (concept_line(concept_id="five"), r"'CONCEPT.csv', line 3, column 'concept_id': expected a number"),
        (concept_line(concept_id="99999999999"), r"line 3, column 'concept_id': expected a number within the column's range"),
        (concept_line(concept_code="x" * 51), r"line 3, column 'concept_code': expected text that fits into the column"),
        (concept_line(valid_end_date=""), r"line 3, column 'valid_end_date': expected a value"),
        (concept_line() + "\t", r"line 3: expected 10 tab separated fields but got 11"),
    ],
)
def test_load_vocabulary_bad_line_is_named_without_its_values(connection: Connection, tmp_path: Path, line: str, message: str) -> None:
    folder = make_athena(tmp_path / "a")
    path = folder / "CONCEPT.csv"
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(VocabularyError, match=message) as caught:
        load_vocabulary(connection, folder)
    assert "Download it again" in str(caught.value)
    assert "five" not in str(caught.value)


def test_load_vocabulary_text_not_in_utf8_is_named_with_its_line(connection: Connection, tmp_path: Path) -> None:
    folder = make_athena(tmp_path / "a")
    path = folder / "CONCEPT.csv"
    path.write_bytes(path.read_bytes() + concept_line(concept_name="é").encode("latin-1") + b"\n")
    with pytest.raises(VocabularyError, match=r"'CONCEPT.csv', line 3.*: expected text in UTF-8"):
        load_vocabulary(connection, folder)


def test_load_vocabulary_without_concept_zero_is_refused(connection: Connection, folder: Path) -> None:
    path = folder / "CONCEPT.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:1] + lines[2:]), encoding="utf-8")
    with pytest.raises(VocabularyError, match="expected concept 0 and 'Maps to' relationships"):
        load_vocabulary(connection, folder)


def test_load_vocabulary_of_another_program_is_not_replaced(connection: Connection, folder: Path) -> None:
    execute(connection, "CREATE SCHEMA vocab")
    execute(connection, "CREATE TABLE vocab.concept (concept_id integer)")
    with pytest.raises(VocabularyError, match="Schema 'vocab' holds a vocabulary that omop_inc did not load"):
        load_vocabulary(connection, folder)


def test_load_vocabulary_two_at_once_one_waits_and_then_gives_up(
    database: str, connection: Connection, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "LOAD_WAIT_S", 0.5)
    with psycopg.connect(database, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(hashtextextended('omop_inc vocabulary vocab', 0))")
        with pytest.raises(VocabularyError, match="Another load into schema 'vocab', or a run that reads it, goes on"):
            load_vocabulary(connection, folder)
        other.execute("SELECT pg_advisory_unlock_all()")
        assert load_vocabulary(connection, folder).is_new


def test_current_fingerprint_without_vocabulary_names_the_remedy(connection: Connection) -> None:
    with pytest.raises(VocabularyError, match="Schema 'vocab' holds no vocabulary. Load one: give an Athena folder or zip with --vocabulary PATH"):
        current_fingerprint(connection)


def test_current_fingerprint_changes_with_the_users_own_list(connection: Connection, folder: Path) -> None:
    load_vocabulary(connection, folder)
    before = current_fingerprint(connection)
    execute(connection, "INSERT INTO vocab.source_to_concept_map VALUES ('x', 0, 'SNOMED', NULL, 1, 'SNOMED', '1970-01-01', '2099-12-31', NULL)")
    changed = current_fingerprint(connection)
    execute(connection, "DELETE FROM vocab.source_to_concept_map")
    assert (changed != before, current_fingerprint(connection) == before) == (True, True)


def test_users_own_list_outlives_an_upgrade_and_yields_to_the_folders(connection: Connection, folder: Path, tmp_path: Path) -> None:
    load_vocabulary(connection, folder)
    execute(connection, "INSERT INTO vocab.source_to_concept_map VALUES ('x', 0, 'SNOMED', NULL, 1, 'SNOMED', '1970-01-01', '2099-12-31', NULL)")
    load_vocabulary(connection, make_athena(tmp_path / "b", [concept(7, "G")]))
    assert column(connection, "SELECT source_code FROM vocab.source_to_concept_map") == ["x"]
    load_vocabulary(connection, make_athena(tmp_path / "c", [concept(7, "G")], own_codes=[own_code("y", 7)]))
    assert column(connection, "SELECT source_code FROM vocab.source_to_concept_map") == ["y"]


@pytest.mark.parametrize(
    ("version", "expected"),
    [("v5.0 30-AUG-24", date(2024, 8, 30)), ("v5.0 1-FEB-2025", date(2025, 2, 1)), ("v5.0 31-FEB-24", None), ("mine", None), (None, None)],
)
def test_release_date_is_the_date_in_the_version(version: str | None, expected: date | None) -> None:
    assert release_date(version) == expected


@pytest.mark.workshop
def test_load_vocabulary_real_download(connection: Connection, workshop: Path) -> None:
    info = load_vocabulary(connection, workshop / "vocabulary")
    assert (info.rows["concept"], info.rows["concept_relationship"]) == (39_627, 53_299)
