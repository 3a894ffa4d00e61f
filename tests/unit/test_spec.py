import csv
import re
from pathlib import Path

import pytest
from psycopg import sql

from omop_inc.cdm import spec

TYPES = {"integer": {"integer", "bigint"}, "float": {"numeric"}, "datetime": {"timestamp"}, "varchar(max)": {"text"}}


@pytest.fixture
def reference(workshop: Path) -> Path:
    return workshop.parent / "reference" / "cdm"


def read_reference(folder: Path, level: str) -> list[dict[str, str]]:
    with (folder / f"OMOP_CDMv5.4_{level}_Level.csv").open(encoding="utf-8-sig", newline="") as lines:
        return list(csv.DictReader(lines))


def text_of(statement: sql.Composed | None) -> str:
    assert statement is not None
    return statement.as_string(None)


@pytest.mark.workshop
def test_cdm_tables_are_the_specifications_tables_in_its_order(reference: Path) -> None:
    rows = read_reference(reference, "Table")
    schemas = {"CDM": "cdm", "RESULTS": "cdm", "VOCAB": "vocab"}
    assert [(t.name, t.schema) for t in spec.cdm_tables().values()] == [(row["cdmTableName"], schemas[row["schema"]]) for row in rows]


@pytest.mark.workshop
def test_cdm_tables_fields_are_the_specifications_fields(reference: Path) -> None:
    def facts(row: dict[str, str]) -> tuple[object, ...]:
        target = (row["fkTableName"].lower(), row["fkFieldName"].lower()) if row["isForeignKey"] == "Yes" else None
        domain, concept_class = (None if row[key] == "NA" else row[key] for key in ("fkDomain", "fkClass"))
        return (row["isRequired"] == "Yes", row["isPrimaryKey"] == "Yes", target, domain, concept_class)

    expected = {(row["cdmTableName"], row["cdmFieldName"].strip('"')): facts(row) for row in read_reference(reference, "Field")}
    found = {
        (table.name, field.name): (field.is_required, field.is_primary_key, field.references, field.domain, field.concept_class)
        for table in spec.cdm_tables().values()
        for field in table.fields
    }
    assert found == expected


@pytest.mark.workshop
def test_cdm_tables_types_hold_what_the_specifications_types_hold(reference: Path) -> None:
    for row in read_reference(reference, "Field"):
        field = spec.cdm_tables()[row["cdmTableName"]].field(row["cdmFieldName"].strip('"'))
        given = row["cdmDatatype"].lower()
        assert field.type in TYPES.get(given, {given}), (row["cdmTableName"], field.name)


def test_cdm_tables_are_39_with_432_fields() -> None:
    tables = spec.cdm_tables().values()
    assert (len(tables), sum(len(table.fields) for table in tables)) == (39, 432)
    assert {table.name for table in spec.tables_of("cdm")} >= {"cohort", "cohort_definition", "death", "note_nlp"}


def test_ids_that_data_bring_are_bigint_and_concept_ids_integer() -> None:
    for table in spec.cdm_tables().values():
        for field in table.fields:
            if re.search(r"concept_id(_[12])?$", field.name):
                assert field.type == "integer", field.name
            elif (re.search(r"_id(_[12])?$", field.name)) and not field.text_limit and field.name != "cohort_definition_id":
                assert field.type == "bigint", field.name


def test_no_field_is_a_float() -> None:
    assert {field.type for table in spec.cdm_tables().values() for field in table.fields if not field.text_limit} == {
        *("bigint", "integer", "numeric", "date", "timestamp", "text")
    }


def test_person_column_is_named_where_there_is_one() -> None:
    without = {table.name for table in spec.tables_of("cdm") if table.person_column is None}
    assert without == {
        *("note_nlp", "fact_relationship", "location", "care_site", "provider", "cost", "episode_event", "metadata", "cdm_source"),
        *("cohort", "cohort_definition"),
    }


def test_create_table_quotes_every_name_and_keeps_required_fields() -> None:
    text = text_of(spec.create_table(spec.cdm_tables()["note_nlp"], 'odd"schema'))
    assert text.startswith('CREATE TABLE "odd""schema"."note_nlp" (')
    assert '"offset" varchar(50),' in text
    assert '"note_nlp_id" bigint NOT NULL' in text


def test_create_table_unlogged_without_constraints_has_none() -> None:
    text = text_of(spec.create_table(spec.cdm_tables()["person"], "run", unlogged=True, constraints=False))
    assert text.startswith("CREATE UNLOGGED TABLE")
    assert "NOT NULL" not in text


def test_primary_key_statement_is_none_for_a_table_without_key() -> None:
    assert spec.primary_key_statement(spec.cdm_tables()["death"], "cdm") is None
    key = spec.primary_key_statement(spec.cdm_tables()["person"], "cdm")
    assert text_of(key) == 'ALTER TABLE "cdm"."person" ADD CONSTRAINT "pk_person" PRIMARY KEY ("person_id")'


def test_index_statements_cover_the_person_of_every_table_that_has_one() -> None:
    for table in spec.tables_of("cdm"):
        if table.person_column and table.name != "person":
            assert any('("person_id")' in text_of(s) for s in spec.index_statements(table, "cdm")), table.name


def test_index_statements_with_foreign_keys_index_what_refers_to_rows_that_come_and_go() -> None:
    plain = {text_of(s) for s in spec.index_statements(spec.cdm_tables()["measurement"], "cdm")}
    more = {text_of(s) for s in spec.index_statements(spec.cdm_tables()["measurement"], "cdm", foreign_keys=True)}
    assert plain < more
    assert any('("visit_occurrence_id") WHERE "visit_occurrence_id" IS NOT NULL' in text for text in more - plain)
    assert not any("value_as_concept_id" in text for text in more)


def test_foreign_keys_are_deferred_and_all_dropped_again() -> None:
    added = [text_of(s) for s in spec.foreign_key_statements("cdm", "vocab")]
    references = [field for table in spec.tables_of("cdm") for field in table.fields if field.references]
    assert len(added) == len(references)
    assert all(text.endswith("DEFERRABLE INITIALLY DEFERRED") for text in added)
    assert any('REFERENCES "vocab"."concept" ("concept_id")' in text for text in added)
    assert any('REFERENCES "cdm"."person" ("person_id")' in text for text in added)
    dropped = " ".join(text_of(s) for s in spec.drop_foreign_key_statements("cdm"))
    assert all(re.search(r'ADD CONSTRAINT ("\w+")', text)[1] in dropped for text in added)  # type: ignore[index]


def test_names_of_indexes_and_constraints_are_unique_and_fit() -> None:
    names = [
        name
        for table in spec.cdm_tables().values()
        for statement in (*spec.index_statements(table, "s", foreign_keys=True), spec.primary_key_statement(table, "s"))
        if statement is not None
        for name in re.findall(r'(?:INDEX|CONSTRAINT) "(\w+)"', text_of(statement))
    ]
    names += re.findall(r'CONSTRAINT "(\w+)"', " ".join(text_of(s) for s in spec.foreign_key_statements("c", "v", kinds=("cdm", "vocab"))))
    assert len(names) == len(set(names))
    assert max(map(len, names)) <= spec.MAX_IDENTIFIER


@pytest.mark.parametrize(
    ("table", "column", "limit"),
    [
        ("person", "person_source_value", 50),
        ("location", "state", 2),
        ("location", "zip", 9),
        ("cost", "drg_source_value", 3),
        ("note", "note_text", None),
    ],
)
def test_text_limits_are_the_columns_lengths(table: str, column: str, limit: int | None) -> None:
    assert spec.text_limits()[table].get(column) == limit
