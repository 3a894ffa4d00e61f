"""The shipped example: its vocabulary holds together, and its snapshots tell the story that the README promises."""

import csv
import gzip
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from omop_inc.cdm.concepts import FIXED_CONCEPTS

Row = dict[str, str]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DATES = ("2020-06-17", "2020-07-01", "2020-07-29")
DIED = "ea87d47b-95f4-ee62-1bf8-dad3397a4f29"
ARRIVES = "968a78aa-bcbb-51cc-3393-57ec9d9c1aaa"
LEAVES = "20948cc8-e9b6-e9a1-8723-bfd8c56306ec"
# MEDICAID: its id could not be checked against a release, and the vocabulary holds no fact that was not.
NOT_SHIPPED = {289}
SIZE_LIMIT_BYTES = 300_000  # of the vocabulary; the example stays something one reads

# Columns that the CDM 5.4 specification requires, and the columns that refer to a concept.
REQUIRED = {
    "CONCEPT": "concept_id concept_name domain_id vocabulary_id concept_class_id concept_code valid_start_date valid_end_date",
    "CONCEPT_ANCESTOR": "ancestor_concept_id descendant_concept_id min_levels_of_separation max_levels_of_separation",
    "CONCEPT_CLASS": "concept_class_id concept_class_name concept_class_concept_id",
    "CONCEPT_RELATIONSHIP": "concept_id_1 concept_id_2 relationship_id valid_start_date valid_end_date",
    "CONCEPT_SYNONYM": "concept_id concept_synonym_name language_concept_id",
    "DOMAIN": "domain_id domain_name domain_concept_id",
    "DRUG_STRENGTH": "drug_concept_id ingredient_concept_id valid_start_date valid_end_date",
    "RELATIONSHIP": ("relationship_id relationship_name is_hierarchical defines_ancestry reverse_relationship_id relationship_concept_id"),
    "VOCABULARY": "vocabulary_id vocabulary_name vocabulary_concept_id",
}
REVERSE = {"Maps to": "Mapped from", "Maps to value": "Value mapped from"}


def read_vocabulary(name: str) -> list[Row]:
    with (EXAMPLES / "vocabulary" / f"{name}.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def read_snapshot(date: str, table: str) -> list[Row]:
    with gzip.open(EXAMPLES / "snapshots" / date / f"{table}.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def vocabulary() -> dict[str, list[Row]]:
    return {name: read_vocabulary(name) for name in REQUIRED}


@pytest.fixture(scope="module")
def concepts(vocabulary: dict[str, list[Row]]) -> dict[str, Row]:
    return {row["concept_id"]: row for row in vocabulary["CONCEPT"]}


def is_standard(concept: Row) -> bool:
    return concept["standard_concept"] == "S" and not concept["invalid_reason"]


def test_vocabulary_has_athenas_nine_files_and_is_small() -> None:
    paths = list((EXAMPLES / "vocabulary").iterdir())
    assert sorted(path.stem for path in paths) == sorted(REQUIRED)
    assert sum(path.stat().st_size for path in paths) < SIZE_LIMIT_BYTES


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_vocabulary_required_fields_are_filled(vocabulary: dict[str, list[Row]], name: str) -> None:
    rows = vocabulary[name]
    columns = REQUIRED[name].split()
    assert rows
    assert [row for row in rows if not all(row[column] for column in columns)] == []
    assert [row for row in rows if None in row or None in row.values()] == []  # neither too long nor too short


def test_vocabulary_dates_are_yyyymmdd_and_in_order(vocabulary: dict[str, list[Row]]) -> None:
    dated = [row for rows in vocabulary.values() for row in rows if "valid_start_date" in row]
    date = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
    assert all(date.fullmatch(row["valid_start_date"]) and date.fullmatch(row["valid_end_date"]) for row in dated)
    assert all(row["valid_start_date"] <= row["valid_end_date"] for row in dated)


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_vocabulary_every_concept_named_exists(vocabulary: dict[str, list[Row]], concepts: dict[str, Row], name: str) -> None:
    columns = [column for column in vocabulary[name][0] if re.search(r"concept_id(_[12])?$", column)]
    named = {row[column] for row in vocabulary[name] for column in columns if row[column]}
    assert named - concepts.keys() == set()


def test_vocabulary_concepts_name_domains_classes_and_vocabularies_that_exist(vocabulary: dict[str, list[Row]]) -> None:
    for name in ("DOMAIN", "CONCEPT_CLASS", "VOCABULARY"):
        column = f"{name.lower()}_id"
        assert {row[column] for row in vocabulary["CONCEPT"]} <= {row[column] for row in vocabulary[name]}
    relationships = {row["relationship_id"] for row in vocabulary["RELATIONSHIP"]}
    assert {row["relationship_id"] for row in vocabulary["CONCEPT_RELATIONSHIP"]} <= relationships
    assert {row["reverse_relationship_id"] for row in vocabulary["RELATIONSHIP"]} <= relationships


@pytest.mark.parametrize(
    ("name", "width"),
    [
        *(("CONCEPT", 1), ("DOMAIN", 1), ("CONCEPT_CLASS", 1), ("VOCABULARY", 1), ("RELATIONSHIP", 1)),
        *(("CONCEPT_RELATIONSHIP", 3), ("CONCEPT_ANCESTOR", 2), ("CONCEPT_SYNONYM", 2), ("DRUG_STRENGTH", 2)),
    ],
)
def test_vocabulary_keys_are_unique(vocabulary: dict[str, list[Row]], name: str, width: int) -> None:
    keys = Counter(tuple(row.values())[:width] for row in vocabulary[name])
    assert [key for key, count in keys.items() if count > 1] == []


def test_vocabulary_maps_only_to_valid_standard_concepts(vocabulary: dict[str, list[Row]], concepts: dict[str, Row]) -> None:
    maps = [row for row in vocabulary["CONCEPT_RELATIONSHIP"] if row["relationship_id"] in REVERSE]
    assert [row for row in maps if not is_standard(concepts[row["concept_id_2"]])] == []
    assert [row for row in maps if row["invalid_reason"]] == []


def test_vocabulary_standard_concepts_map_to_themselves_alone(vocabulary: dict[str, list[Row]], concepts: dict[str, Row]) -> None:
    targets: dict[str, set[str]] = {concept_id: set() for concept_id, row in concepts.items() if is_standard(row)}
    for row in vocabulary["CONCEPT_RELATIONSHIP"]:
        if row["relationship_id"] == "Maps to" and row["concept_id_1"] in targets:
            targets[row["concept_id_1"]].add(row["concept_id_2"])
    named = {row["concept_id_1"] for row in vocabulary["CONCEPT_RELATIONSHIP"]}
    assert {concept_id for concept_id in named & targets.keys() if targets[concept_id] != {concept_id}} == set()


def test_vocabulary_relationships_have_their_reverse(vocabulary: dict[str, list[Row]]) -> None:
    rows = vocabulary["CONCEPT_RELATIONSHIP"]
    keys = {(row["concept_id_1"], row["concept_id_2"], row["relationship_id"]) for row in rows}
    forward = {key for key in keys if key[2] in REVERSE}
    assert keys - forward == {(two, one, REVERSE[name]) for one, two, name in forward}


def test_vocabulary_holds_every_fixed_concept_under_its_name(concepts: dict[str, Row]) -> None:
    shipped = {concept_id: name for concept_id, name in FIXED_CONCEPTS.items() if concept_id not in NOT_SHIPPED}
    assert {concept_id for concept_id in shipped if str(concept_id) not in concepts} == set()
    names = {concept_id: concepts[str(concept_id)]["concept_name"].casefold() for concept_id in shipped}
    assert names == {concept_id: name.casefold() for concept_id, name in shipped.items()}


def test_vocabulary_does_not_pretend_to_be_a_release(vocabulary: dict[str, list[Row]]) -> None:
    versions = {row["vocabulary_id"]: row["vocabulary_version"] for row in vocabulary["VOCABULARY"]}
    assert versions.pop("None") == "omop_inc example vocabulary 1"
    assert set(versions.values()) == {""}


def strengths_in_name(name: str) -> Counter[tuple[float, bool]]:
    """Read (milligrams, is a concentration) out of a RxNorm name such as '0.3 ML epinephrine 1 MG/ML Auto-Injector'."""
    quantity = re.search(r"(?:^| )([\d.]+) ML ", name)
    volume = float(quantity[1]) if quantity else 1.0
    found = re.findall(r"([\d.]+) MG(/ML)?\b", name)
    return Counter((round(float(value) * (volume if per else 1.0), 6), bool(per)) for value, per in found)


def test_drug_strength_says_what_the_drugs_names_say(vocabulary: dict[str, list[Row]], concepts: dict[str, Row]) -> None:
    described: dict[str, Counter[tuple[float, bool]]] = {}
    for row in vocabulary["DRUG_STRENGTH"]:
        is_concentration = row["amount_value"] == ""
        value = row["numerator_value"] if is_concentration else row["amount_value"]
        described.setdefault(row["drug_concept_id"], Counter())[(float(value), is_concentration)] += 1
        unit = row["numerator_unit_concept_id"] if is_concentration else row["amount_unit_concept_id"]
        assert unit == "8576"  # milligram
        assert row["denominator_unit_concept_id"] == ("8587" if is_concentration else "")  # milliliter
    drugs = [row for row in concepts.values() if row["concept_class_id"] in ("Clinical Drug", "Branded Drug")]
    assert described == {row["concept_id"]: strengths_in_name(row["concept_name"]) for row in drugs}


def test_drug_strength_ingredients_are_the_drugs_ancestors(vocabulary: dict[str, list[Row]], concepts: dict[str, Row]) -> None:
    ancestry = {
        (row["descendant_concept_id"], row["ancestor_concept_id"])
        for row in vocabulary["CONCEPT_ANCESTOR"]
        if concepts[row["ancestor_concept_id"]]["concept_class_id"] == "Ingredient" and row["ancestor_concept_id"] != row["descendant_concept_id"]
    }
    rows = vocabulary["DRUG_STRENGTH"]
    assert ancestry == {(row["drug_concept_id"], row["ingredient_concept_id"]) for row in rows}
    for drug, ingredient in ancestry:
        assert concepts[ingredient]["concept_name"].casefold() in concepts[drug]["concept_name"].casefold()


def test_vocabulary_sends_rows_to_every_clinical_table(concepts: dict[str, Row]) -> None:
    used = {row["CODE"] for table in ("conditions", "devices", "immunizations", "medications", "observations", "procedures")
            for row in read_snapshot("2020-07-01", table)}  # fmt: skip
    domains = {row["domain_id"] for row in concepts.values() if row["concept_code"] in used and is_standard(row)}
    assert {"Condition", "Drug", "Procedure", "Measurement", "Observation", "Device"} <= domains


def test_vocabulary_holds_every_unit_of_the_snapshots_also_those_spelt_otherwise(concepts: dict[str, Row]) -> None:
    ucum = {row["concept_code"] for row in concepts.values() if row["vocabulary_id"] == "UCUM" and is_standard(row)}
    with (EXAMPLES.parent / "omop_inc" / "cdm" / "units.csv").open(encoding="utf-8", newline="") as lines:
        spelt_otherwise = {row["unit_source_value"] for row in csv.DictReader(lines) if row["ucum_code"] in ucum}
    used = {row["UNITS"] for date in DATES for row in read_snapshot(date, "observations")} - {""}
    assert {"{score}", "kU/L"} <= used - ucum  # else this shows nothing
    assert used - ucum - spelt_otherwise == set()


def test_make_vocabulary_of_the_shipped_vocabulary_is_the_shipped_vocabulary(tmp_path: Path) -> None:
    snapshots = [str(EXAMPLES / "snapshots" / date) for date in DATES]
    command = [sys.executable, str(EXAMPLES / "make_vocabulary.py"), "--athena", str(EXAMPLES / "vocabulary")]
    arguments = [*command, "--out", str(tmp_path), *snapshots]
    subprocess.run(arguments, capture_output=True, check=True, env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)})
    for name in REQUIRED:
        shipped = (EXAMPLES / "vocabulary" / f"{name}.csv").read_bytes()
        assert (tmp_path / f"{name}.csv").read_bytes() == shipped, name


def test_snapshots_have_eighteen_files_each() -> None:
    names = [sorted(path.name for path in (EXAMPLES / "snapshots" / date).iterdir()) for date in DATES]
    assert [len(files) for files in names] == [18, 18, 18]
    assert names[0] == names[1] == names[2]


def test_snapshots_people_come_go_and_die() -> None:
    people = [{row["Id"]: row["DEATHDATE"] for row in read_snapshot(date, "patients")} for date in DATES]
    assert [len(patients) for patients in people] == [12, 13, 12]
    assert [patients[DIED] for patients in people] == ["", "2020-07-06", "2020-07-06"]
    assert [sum(death != "" for death in patients.values()) for patients in people] == [0, 1, 1]
    assert [ARRIVES in patients for patients in people] == [False, True, True]
    assert [LEAVES in patients for patients in people] == [True, True, False]


def test_snapshots_death_certificate_is_later_than_the_death() -> None:
    encounters = read_snapshot("2020-07-29", "encounters")
    certificate = [row["START"] for row in encounters if row["CODE"] == "308646001" and row["PATIENT"] == DIED]
    assert [start[:10] for start in certificate] == ["2020-07-07"]


def test_snapshots_hold_every_kind_of_encounter_that_the_readme_names() -> None:
    classes = {row["ENCOUNTERCLASS"] for date in DATES for row in read_snapshot(date, "encounters")}
    ambulatory = {"ambulatory", "outpatient", "wellness", "urgentcare"}
    assert classes == ambulatory | {"emergency", "inpatient", "snf", "hospice"}


def test_readme_counts_rows_as_they_are() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (\w+) \| ([\d,]+) \| ([\d,]+) \| [\d, ]+ \| ([\d,]+) \|", text, flags=re.MULTILINE)
    told = {table: [int(count.replace(",", "")) for count in counts] for table, *counts in lines}
    assert len(told) == 18
    assert told == {table: [len(read_snapshot(date, table)) for date in DATES] for table in told}
