import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from omop_inc.cdm.cache import MapCache
from omop_inc.cdm.code_map import CodeMapReport, content_digest, mapping_fingerprint, resolve
from omop_inc.cdm.concepts import FIXED_CONCEPTS
from omop_inc.cdm.vocabulary import load_vocabulary
from omop_inc.errors import VocabularyError
from tests.athena_folder import concept, make_athena, maps_to, own_code

Connection = psycopg.Connection[Any]
Rows = list[tuple[Any, ...]]

CONCEPTS = [
    concept(10, "standard"),
    concept(11, "silent", domain="Drug"),  # standard, without a row that maps it to itself
    concept(12, "old", standard=""),
    concept(13, "two", standard=""),
    concept(14, "nowhere", standard=""),
    concept(15, "value", standard="", domain="Observation"),
    concept(16, "ended", standard=""),
    concept(17, "twice", standard="", invalid="U"),
    concept(18, "twice", standard="S"),
    concept(19, "same", "RxNorm", domain="Drug"),
    concept(20, "same"),
    concept(30, "m", domain="Measurement"),
    concept(31, "o", domain="Observation"),
    concept(32, "p", domain="Procedure"),
    concept(33, "gone", standard="S", invalid="D"),
    concept(34, "visit", domain="Visit"),
    concept(35, "spec", domain="Specimen"),
    concept(36, "dev", domain="Device"),
    concept(40, "v1", domain="Meas Value"),
    concept(41, "v2", domain="Meas Value"),
]
RELATIONSHIPS = [
    *(maps_to(i, i) for i in (10, 18, 19, 20, 30, 31, 32, 34, 35, 36)),
    maps_to(12, 10),
    maps_to(13, 32),
    maps_to(13, 30),
    maps_to(14, 33),  # the target is no longer valid
    maps_to(15, 31),
    maps_to(15, 32),
    maps_to(15, 41, "Maps to value"),
    maps_to(15, 40, "Maps to value"),
    maps_to(16, 10, invalid="D"),
]


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    with psycopg.connect(database) as connected:
        yield connected


def use(connection: Connection, table: str, rows: Sequence[Sequence[object]]) -> None:
    columns = {"code_in_use": "vocabulary_id text, code text", "unit_in_use": "unit_source_value text", "answer_in_use": "value_text text"}[table]
    name = sql.Identifier("run", table)
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA IF NOT EXISTS run")
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))
        cursor.execute(sql.SQL("CREATE TABLE {} ({})").format(name, sql.SQL(columns)))
        marks = sql.SQL(", ").join([sql.Placeholder()] * (columns.count(",") + 1))
        cursor.executemany(sql.SQL("INSERT INTO {} VALUES ({})").format(name, marks), rows)


def read(connection: Connection, table: str) -> Rows:
    with connection.transaction():
        return sorted(connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier("run", table))).fetchall(), key=str)


@pytest.fixture
def vocabulary(connection: Connection, tmp_path: Path) -> Connection:
    load_vocabulary(connection, make_athena(tmp_path / "athena", CONCEPTS, RELATIONSHIPS))
    return connection


def resolved(connection: Connection, *codes: tuple[str, str], cache: MapCache | None = None) -> CodeMapReport:
    use(connection, "code_in_use", codes)
    return resolve(connection, "run", "vocab", cache)


def snomed(connection: Connection, code: str) -> Rows:
    resolved(connection, ("SNOMED", code))
    return [row[2:] for row in read(connection, "code_map")]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        pytest.param("standard", [(1, "condition_occurrence", 10, 10, None)], id="standard"),
        pytest.param("silent", [(1, "drug_exposure", 11, 11, None)], id="standard concept without a Maps to row"),
        pytest.param("old", [(1, "condition_occurrence", 10, 12, None)], id="mapped"),
        pytest.param("two", [(1, "measurement", 30, 13, None), (2, "procedure_occurrence", 32, 13, None)], id="two targets, by concept"),
        pytest.param("nowhere", [(1, None, 0, 14, None)], id="target no longer valid"),
        pytest.param("ended", [(1, None, 0, 16, None)], id="relationship no longer valid"),
        pytest.param("unknown", [(1, None, 0, 0, None)], id="code that is nobody's"),
        pytest.param("gone", [(1, None, 0, 33, None)], id="standard but invalid"),
        pytest.param("twice", [(1, "condition_occurrence", 18, 18, None)], id="two concepts of one code: the valid one"),
        pytest.param("visit", [(1, "observation", 34, 34, None)], id="any other domain is an observation"),
        pytest.param("spec", [(1, "specimen", 35, 35, None)], id="specimen"),
        pytest.param("dev", [(1, "device_exposure", 36, 36, None)], id="device"),
        pytest.param(
            "value",
            [(1, "observation", 31, 15, 40), (2, "observation", 31, 15, 41), (3, "procedure_occurrence", 32, 15, None)],
            id="values only where the table has a field for them",
        ),
    ],
)
def test_resolve_code(vocabulary: Connection, code: str, expected: Rows) -> None:
    assert snomed(vocabulary, code) == expected


def test_resolve_the_vocabulary_is_part_of_the_code(vocabulary: Connection) -> None:
    report = resolved(vocabulary, ("RxNorm", "same"), ("SNOMED", "same"), ("LOINC", "same"), ("SNOMED", "same"))
    assert [(row[0], row[4]) for row in read(vocabulary, "code_map")] == [("LOINC", 0), ("RxNorm", 19), ("SNOMED", 20)]
    assert (report.codes, report.unmapped) == (3, 1)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        pytest.param([own_code("old", 32)], [(1, "procedure_occurrence", 32, 12, None)], id="before the vocabulary"),
        pytest.param([own_code("old", 32, "Synthea")], [(1, "procedure_occurrence", 32, 12, None)], id="for any vocabulary of Synthea's"),
        pytest.param([own_code("old", 32, "RxNorm")], [(1, "condition_occurrence", 10, 12, None)], id="another vocabulary's code"),
        pytest.param([own_code("old", 32, source=2_000_000_001)], [(1, "procedure_occurrence", 32, 2_000_000_001, None)], id="own source concept"),
        pytest.param([own_code("old", 32), own_code("old", 32, "Synthea")], [(1, "procedure_occurrence", 32, 12, None)], id="said twice"),
        pytest.param(
            [own_code("old", 32), own_code("old", 30)],
            [(1, "measurement", 30, 12, None), (2, "procedure_occurrence", 32, 12, None)],
            id="two targets",
        ),
        pytest.param([own_code("old", 32, invalid="D")], [(1, "condition_occurrence", 10, 12, None)], id="deleted"),
        pytest.param([own_code("old", 32, end=20240829)], [(1, "condition_occurrence", 10, 12, None)], id="ended before the vocabulary's release"),
        pytest.param([own_code("old", 32, end=20240830)], [(1, "procedure_occurrence", 32, 12, None)], id="ends on the day of the release"),
        pytest.param([own_code("old", 33)], [(1, "condition_occurrence", 10, 12, None)], id="target that is no standard concept"),
        pytest.param([own_code("old", 0)], [(1, None, 0, 12, None)], id="left unmapped on purpose"),
    ],
)
def test_resolve_users_own_list(connection: Connection, tmp_path: Path, own: Rows, expected: Rows) -> None:
    load_vocabulary(connection, make_athena(tmp_path / "a", CONCEPTS, RELATIONSHIPS, own))
    assert snomed(connection, "old") == expected


def test_resolve_users_own_list_where_the_vocabulary_tells_no_date(connection: Connection, tmp_path: Path) -> None:
    own = [own_code("old", 32, end=20240829)]
    load_vocabulary(connection, make_athena(tmp_path / "a", CONCEPTS, RELATIONSHIPS, own, version="of ours"))
    assert snomed(connection, "old") == [(1, "procedure_occurrence", 32, 12, None)]


UCUM = [
    *(concept(i, code, "UCUM", domain="Unit") for i, code in enumerate(("mg/dL", "mm[Hg]", "a", "A", "[score]", "U", "g"), start=100)),
    concept(110, "years", "UCUM", domain="Unit", standard=""),
]


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        pytest.param("mg/dL", 100, id="as given"),
        pytest.param("MG/DL", 100, id="folded"),
        pytest.param("a", 102, id="case decides: year"),
        pytest.param("A", 103, id="case decides: ampere"),
        pytest.param("mmHg", 101, id="units.csv"),
        pytest.param("{score}", 104, id="units.csv, annotation"),
        pytest.param("years", 102, id="non-standard code through Maps to"),
        pytest.param("{nominal}", 0, id="no unit at all"),
        pytest.param("furlong", 0, id="unknown"),
        pytest.param("own", 106, id="the user's own list"),
    ],
)
def test_resolve_unit(connection: Connection, tmp_path: Path, unit: str, expected: int) -> None:
    load_vocabulary(connection, make_athena(tmp_path / "a", UCUM, [maps_to(110, 102)], [own_code("own", 106, "Synthea")]))
    use(connection, "unit_in_use", [(unit,), (unit,)])
    report = resolved(connection)
    assert read(connection, "unit_map") == [(unit, expected)]
    assert (report.units, report.unmapped_units) == (1, int(expected == 0))


@pytest.mark.parametrize(
    ("changes", "version", "expected"),
    [
        pytest.param({"end": 20240830}, "v5.0 30-AUG-24", 106, id="ends on the day of the release"),
        pytest.param({"end": 20240829}, "v5.0 30-AUG-24", 0, id="ended before"),
        pytest.param({"end": 20240829}, "of ours", 106, id="the vocabulary tells no date"),
        pytest.param({"invalid": "D"}, "v5.0 30-AUG-24", 0, id="deleted"),
    ],
)
def test_resolve_unit_of_a_row_that_ended(connection: Connection, tmp_path: Path, changes: dict[str, Any], version: str, expected: int) -> None:
    own = [own_code("own", 106, "Synthea", **changes)]
    load_vocabulary(connection, make_athena(tmp_path / "a", UCUM, [maps_to(110, 102)], own, version=version))
    use(connection, "unit_in_use", [("own",)])
    resolved(connection)
    assert read(connection, "unit_map") == [("own", expected)]


@pytest.mark.parametrize(
    ("lines", "unit", "expected"),
    [
        pytest.param(["{x},g"], "{x}", 106, id="a unit that the shipped list lacks"),
        pytest.param(["mmHg,g"], "mmHg", 106, id="before the shipped list"),
        pytest.param(["mg/dL,g"], "mg/dL", 106, id="before UCUM's own code"),
        pytest.param(["{x},nobody", "{x},g"], "{x}", 106, id="the first code that exists"),
        pytest.param(["mg/dL,"], "mg/dL", 0, id="no code: left unmapped on purpose"),
        pytest.param(["mmHg,nobody"], "mmHg", 101, id="a code that does not exist has no effect"),
        pytest.param(["own,g"], "own", 105, id="after the list in the vocabulary"),
    ],
)
def test_resolve_unit_by_the_users_list(connection: Connection, tmp_path: Path, lines: list[str], unit: str, expected: int) -> None:
    load_vocabulary(connection, make_athena(tmp_path / "a", UCUM, [maps_to(110, 102)], [own_code("own", 105, "Synthea")]))
    units = tmp_path / "units.csv"
    units.write_text("\n".join(["unit_source_value,ucum_code", *lines]) + "\n", encoding="utf-8")
    use(connection, "unit_in_use", [(unit,)])
    use(connection, "code_in_use", [])
    cache = MapCache(tmp_path / "cache")
    report = resolve(connection, "run", "vocab", cache, units)
    assert read(connection, "unit_map") == [(unit, expected)]
    assert report.missing_ucum == (("nobody",) if "nobody" in "".join(lines) else ())
    assert mapping_fingerprint(connection, "vocab", units) != mapping_fingerprint(connection)
    assert not resolve(connection, "run", "vocab", cache).from_cache  # without the list it is another map


def answer(concept_id: int, name: str, vocabulary: str = "LOINC", **changes: str) -> tuple[object, ...]:
    return concept(concept_id, f"LA{concept_id}", vocabulary, **{"name": name, "domain": "Meas Value", "klass": "Answer", **changes})


ANSWERS = [
    answer(200, "Yes"),
    answer(201, "Yes", "SNOMED"),
    answer(202, "Other"),
    answer(203, "Other"),
    answer(204, "Negative", "SNOMED"),
    answer(205, "Negative", standard=""),
    answer(206, "Yes, it has kept me from work"),
    answer(207, "Never smoked tobacco", "SNOMED", domain="Observation", klass="Clinical Finding"),
    answer(208, "no", "SNOMED"),
    answer(209, "No"),
    answer(210, "Maybe", invalid="D"),
    answer(211, "Edema", "SNOMED", domain="Condition", klass="Clinical Finding"),
    answer(212, "Edema", "SNOMED", domain="Spec Anatomic Site", klass="Morph Abnormality"),
    answer(213, "Sepsis", "SNOMED", domain="Condition", klass="Disorder"),
    answer(214, "Stage 1", "SNOMED", domain="Observation", klass="Qualifier Value", standard=""),
    answer(215, "Cloudy", "SNOMED", domain="Observation", klass="Clinical Finding"),
    answer(216, "Cloudy", "SNOMED", domain="Observation", klass="Clinical Finding"),
    answer(217, "Yes", "SNOMED", domain="Observation", klass="Qualifier Value"),
    answer(218, "Asthma", "SNOMED", domain="Condition", klass="Clinical Finding"),
    answer(219, "Old sepsis", "SNOMED", domain="Condition", klass="Disorder", standard=""),
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Yes", 200, id="LOINC's answer first"),
        pytest.param("Yes (qualifier value)", 201, id="a tag is SNOMED's"),
        pytest.param("Other", None, id="ambiguous"),
        pytest.param("Negative", 204, id="non-standard answer through Maps to"),
        pytest.param("Yes  it has kept me from work", 206, id="an export writes a comma as a blank"),
        pytest.param("NO", 209, id="folded"),
        pytest.param("Never smoked tobacco (finding)", 207, id="SNOMED's full name is the concept"),
        pytest.param("Never smoked tobacco", None, id="without its tag a finding is no answer"),
        pytest.param("Edema (finding)", 211, id="the tag names the class"),
        pytest.param("Sepsis (disorder)", 213, id="disorder"),
        pytest.param("Asthma (disorder)", 218, id="older vocabularies class a disorder as a finding"),
        pytest.param("Sepsis (finding)", None, id="a disorder is not called a finding"),
        pytest.param("Old sepsis (disorder)", 213, id="non-standard disorder through Maps to"),
        pytest.param("Stage 1 (qualifier value)", None, id="a finding without a standard concept"),
        pytest.param("Cloudy (finding)", None, id="two findings of one name"),
        pytest.param("Maybe", None, id="no longer valid"),
        pytest.param("12 Main Street", None, id="any other text"),
        pytest.param("x" * 10_000, None, id="longer than an index entry"),
    ],
)
def test_resolve_answer(connection: Connection, tmp_path: Path, text: str, expected: int | None) -> None:
    load_vocabulary(connection, make_athena(tmp_path / "a", ANSWERS, [maps_to(205, 204), maps_to(219, 213)]))
    use(connection, "answer_in_use", [(text,), (text,)])
    resolved(connection)
    assert read(connection, "answer_map") == ([] if expected is None else [(text, expected)])


def test_resolve_fixed_concepts_missing_ones_are_zero_and_named(connection: Connection, tmp_path: Path) -> None:
    load_vocabulary(connection, make_athena(tmp_path / "a", [concept(i, str(i)) for i in FIXED_CONCEPTS if i not in (32902, 5083, 756265)]))
    report = resolved(connection)
    assert report.missing_fixed == (5083, 32902)  # of the CDM's two versions one is enough
    found: dict[int, int] = dict(read(connection, "fixed_concept"))
    assert found.keys() == FIXED_CONCEPTS.keys()
    assert {key: value for key, value in found.items() if key != value} == {5083: 0, 32902: 0, 756265: 0}


def test_resolve_again_replaces_and_leaves_the_search_path_alone(vocabulary: Connection) -> None:
    before = vocabulary.execute("SHOW search_path").fetchone()
    resolved(vocabulary, ("SNOMED", "old"))
    resolved(vocabulary, ("SNOMED", "two"))
    assert {row[1] for row in read(vocabulary, "code_map")} == {"two"}
    assert vocabulary.execute("SHOW search_path").fetchone() == before


def test_resolve_takes_a_view_of_codes(vocabulary: Connection) -> None:
    with vocabulary.transaction():
        vocabulary.execute("CREATE SCHEMA run")
        vocabulary.execute("CREATE VIEW run.code_in_use AS SELECT 'SNOMED' AS vocabulary_id, 'old' AS code UNION ALL SELECT 'SNOMED', NULL")
    assert resolve(vocabulary, "run", "vocab", None).codes == 1


def test_resolve_without_vocabulary_names_the_remedy(connection: Connection) -> None:
    use(connection, "code_in_use", [])
    with pytest.raises(VocabularyError, match="holds no vocabulary. Load one"):
        resolve(connection, "run", "vocab", None)


def test_resolve_without_codes_names_what_is_missing(vocabulary: Connection) -> None:
    with vocabulary.transaction():
        vocabulary.execute("CREATE SCHEMA run")
    with pytest.raises(VocabularyError, match="Schema 'run' has no code_in_use"):
        resolve(vocabulary, "run", "vocab", None)


# The cache: whatever is done to it, the map is the database's.

CODES = [("SNOMED", code) for code in ("standard", "two", "value", "unknown")]


def tamper(folder: Path, change: str, parameters: tuple[object, ...] = ()) -> None:
    connection = sqlite3.connect(folder / "cache.db")
    with connection:
        connection.execute(change, parameters)
    connection.close()


def poison(folder: Path) -> None:
    """Map one code to another concept, as valid JSON."""
    connection = sqlite3.connect(folder / "cache.db")
    [(text,)] = connection.execute("SELECT value FROM Cache").fetchall()
    rows = json.loads(text)
    rows["codes"][0][4] = 9999
    with connection:
        connection.execute("UPDATE Cache SET value = ?", (json.dumps(rows),))
    connection.close()


def delete(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def corrupt(folder: Path) -> None:
    delete(folder)
    (folder / "cache.db").write_bytes(b"damaged" * 1000)


def empty_rows(folder: Path) -> None:
    tamper(folder, "UPDATE Cache SET value = ?", ('{"codes": [], "units": []}',))


def not_rows(folder: Path) -> None:
    tamper(folder, "UPDATE Cache SET value = '[1, {\"a\": null}]'")


def pickled(folder: Path) -> None:
    tamper(folder, "UPDATE Cache SET mode = 4, value = ?", (sqlite3.Binary(b"cos\nabort\n(tR."),))  # would end the process


def pickled_key(folder: Path) -> None:
    tamper(folder, "UPDATE Cache SET raw = 0, key = ?", (sqlite3.Binary(b"cos\nabort\n(tR."),))


def test_resolve_same_codes_come_from_the_cache(vocabulary: Connection, tmp_path: Path) -> None:
    cache = MapCache(tmp_path / "cache")
    first = resolved(vocabulary, *CODES, cache=cache)
    expected = read(vocabulary, "code_map")
    second = resolved(vocabulary, *reversed(CODES), cache=cache)
    assert (first.from_cache, second.from_cache) == (False, True)
    assert read(vocabulary, "code_map") == expected
    assert (second.codes, second.unmapped) == (first.codes, first.unmapped)


@pytest.mark.parametrize("harm", [delete, corrupt, poison, empty_rows, not_rows, pickled, pickled_key])
def test_resolve_harmed_cache_gives_the_same_map(vocabulary: Connection, tmp_path: Path, harm: Any) -> None:
    cache = MapCache(tmp_path / "cache")
    resolved(vocabulary, *CODES, cache=cache)
    expected = read(vocabulary, "code_map")
    harm(tmp_path / "cache")
    report = resolved(vocabulary, *CODES, cache=cache)
    assert (report.from_cache, read(vocabulary, "code_map")) == (False, expected)
    assert resolved(vocabulary, *CODES, cache=cache).from_cache  # it has healed


def test_resolve_entry_that_this_database_never_recorded_does_not_count(vocabulary: Connection, tmp_path: Path) -> None:
    cache = MapCache(tmp_path / "cache")
    resolved(vocabulary, *CODES, cache=cache)
    with vocabulary.transaction():
        vocabulary.execute("DELETE FROM vocab.code_map_digest")
    assert not resolved(vocabulary, *CODES, cache=cache).from_cache


def test_resolve_other_codes_or_other_vocabulary_are_no_hit(vocabulary: Connection, tmp_path: Path) -> None:
    cache = MapCache(tmp_path / "cache")
    resolved(vocabulary, *CODES, cache=cache)
    assert not resolved(vocabulary, *CODES[:2], cache=cache).from_cache
    remapped = [r for r in RELATIONSHIPS if r[0] != 13] + [maps_to(13, 31)]
    load_vocabulary(vocabulary, make_athena(tmp_path / "b", CONCEPTS, remapped))
    assert not resolved(vocabulary, *CODES, cache=cache).from_cache
    assert [row[4] for row in read(vocabulary, "code_map") if row[1] == "two"] == [31]


def test_resolve_changed_own_list_is_no_hit(vocabulary: Connection, tmp_path: Path) -> None:
    cache = MapCache(tmp_path / "cache")
    resolved(vocabulary, *CODES, cache=cache)
    before = mapping_fingerprint(vocabulary)
    with vocabulary.transaction():
        row = "('two', 0, 'SNOMED', NULL, 31, 'SNOMED', '1970-01-01', '2099-12-31', NULL)"
        vocabulary.execute(sql.SQL("INSERT INTO vocab.source_to_concept_map VALUES {}").format(sql.SQL(row)))
    assert mapping_fingerprint(vocabulary) != before
    assert not resolved(vocabulary, *CODES, cache=cache).from_cache
    assert [row[4] for row in read(vocabulary, "code_map") if row[1] == "two"] == [31]


def test_resolve_digests_are_pruned(vocabulary: Connection) -> None:
    with vocabulary.transaction():
        vocabulary.execute(
            "INSERT INTO vocab.code_map_digest SELECT 'key ' || i, 'x', now() - i * interval '1 day' FROM generate_series(1, 150) AS i"
        )
    resolved(vocabulary, *CODES)
    with vocabulary.transaction():
        assert vocabulary.execute("SELECT count(*), max(used_at) >= now() - interval '1 hour' FROM vocab.code_map_digest").fetchone() == (100, True)


def test_content_digest_differs_with_every_value() -> None:
    rows = {"codes": [["SNOMED", "1", 1, None, 0, 0, None]], "units": []}
    other = {"codes": [["SNOMED", "1", 1, None, 0, 1, None]], "units": []}
    assert content_digest(rows) != content_digest(other)
    assert content_digest(rows) == content_digest(json.loads(json.dumps(rows)))
