"""Make a small vocabulary that holds just what some snapshots use, out of a larger one.

    python examples/make_vocabulary.py --athena DOWNLOAD --out OUT_FOLDER SNAPSHOT...

The result is in Athena's own format: the concepts of every code, unit and answer in the snapshots, their standard
targets, the ingredients of their drugs, the fixed concepts of the mapping, and the rows that describe those. It is
handy for tests and for showing a colleague a run without the full download, and examples/vocabulary was made so.
What belongs here: which concepts a snapshot needs. What does not: loading a vocabulary (omop_inc.cdm.vocabulary).
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TextIO

from lookup import (
    FORWARD,
    STRENGTH_UNITS,
    Code,
    Lookup,
    Row,
    Use,
    is_answer,
    is_standard,
    read_lookup,
    short_name,
    write_table,
)

from omop_inc.cdm.concepts import FIXED_CONCEPTS

HERE = Path(__file__).resolve().parent
VERSION = "omop_inc example vocabulary 1"

# Where the snapshots keep codes: source table, columns, the vocabularies a code of that column can be of.
SNOMED = ("SNOMED",)
CODE_COLUMNS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("allergies", ("code",), ("SNOMED", "RxNorm")),
    ("allergies", ("reaction1", "reaction2"), SNOMED),
    ("careplans", ("code",), SNOMED),
    ("careplans", ("reasoncode",), SNOMED),
    ("claims", tuple(f"diagnosis{number}" for number in range(1, 9)), SNOMED),
    ("conditions", ("code",), SNOMED),
    ("devices", ("code",), SNOMED),
    ("encounters", ("code",), SNOMED),
    ("encounters", ("reasoncode",), SNOMED),
    ("imaging_studies", ("procedure_code",), SNOMED),
    ("imaging_studies", ("bodysite_code",), SNOMED),
    ("imaging_studies", ("modality_code",), ("DICOM",)),
    ("immunizations", ("code",), ("CVX",)),
    ("medications", ("code",), ("RxNorm",)),
    ("medications", ("reasoncode",), SNOMED),
    ("observations", ("code",), ("LOINC", "SNOMED")),
    ("observations", ("units",), ("UCUM",)),
    ("procedures", ("code",), SNOMED),
    ("procedures", ("reasoncode",), SNOMED),
    ("supplies", ("code",), SNOMED),
)
# Domains that rows name even when no concept in use is of them (cost, fact_relationship).
EVENT_DOMAINS = ("Condition", "Device", "Drug", "Measurement", "Observation", "Procedure", "Specimen", "Visit")


@dataclass(kw_only=True)
class Selection:
    """What to write."""

    concept_ids: set[str] = field(default_factory=set)
    relationships: dict[tuple[str, str, str], Row] = field(default_factory=dict)


def source_rows(snapshots: Iterable[Path], table: str) -> Iterator[Row]:
    """Give the rows of a source table over all snapshots, column names in lower case."""
    for snapshot in snapshots:
        for path in (snapshot / f"{table}.csv", snapshot / f"{table}.csv.gz"):
            if path.exists():
                open_text: Callable[..., TextIO] = gzip.open if path.suffix == ".gz" else open
                with open_text(path, "rt", encoding="utf-8-sig", newline="") as lines:
                    for row in csv.DictReader(lines):
                        yield {str(name).lower(): value or "" for name, value in row.items()}


def count_uses(snapshots: list[Path]) -> list[Use]:
    """Count the codes, units and answers of the snapshots, per place where they are written."""
    uses = []
    for table, columns, vocabularies in CODE_COLUMNS:
        texts = Counter(row[column] for row in source_rows(snapshots, table) for column in columns if row.get(column))
        uses.append(Use(place=f"{table}.{columns[0].rstrip('1')}", vocabularies=vocabularies, texts=texts))
    answers = Counter(row["value"] for row in source_rows(snapshots, "observations") if row["type"] == "text")
    return [*uses, Use(place="observations.value (text)", vocabularies=(), texts=answers)]


def relate(selection: Selection, row: Row) -> None:
    """Keep a relationship and its reverse."""
    reverse = FORWARD[row["relationship_id"]]
    one, two, name = row["concept_id_1"], row["concept_id_2"], row["relationship_id"]
    selection.relationships[(one, two, name)] = row
    back = row | {"concept_id_1": two, "concept_id_2": one, "relationship_id": reverse}
    selection.relationships[(two, one, reverse)] = back


def select_concept(lookup: Lookup, selection: Selection, concept_id: str) -> bool:
    """Take a concept with its standard targets; tell whether it has one.

    A standard concept maps to itself and to nothing else (an OHDSI convention); a partial download may lack that row.
    """
    selection.concept_ids.add(concept_id)
    if is_standard(lookup, concept_id):
        concept = lookup.concepts[concept_id]
        itself = {
            "concept_id_1": concept_id,
            "concept_id_2": concept_id,
            "relationship_id": "Maps to",
            "valid_start_date": concept["valid_start_date"],
            "valid_end_date": concept["valid_end_date"],
            "invalid_reason": "",
        }
        relate(selection, itself)
        return True
    found = False
    for row in lookup.targets.get(concept_id, []):
        if is_standard(lookup, row["concept_id_2"]):
            select_concept(lookup, selection, row["concept_id_2"])
            relate(selection, row)
            found = found or row["relationship_id"] == "Maps to"
    return found


def select_uses(lookup: Lookup, selection: Selection, uses: list[Use]) -> dict[str, set[str]]:
    """Take the concepts of all codes, units and answers; give per place the texts that have a standard concept."""
    answers = {short_name(row["concept_synonym_name"]): row["concept_id"] for row in lookup.tables["CONCEPT_SYNONYM"]}
    units: dict[Code, str] = {}
    for concept_id, concept in sorted(lookup.concepts.items(), key=lambda item: int(item[0]), reverse=True):
        if is_standard(lookup, concept_id) and is_answer(concept):
            answers[short_name(concept["concept_name"])] = concept_id
        if is_standard(lookup, concept_id) and concept["vocabulary_id"] == "UCUM":
            units[("UCUM", concept["concept_code"].casefold())] = concept_id
    for text, code in other_spellings():
        if (known := lookup.by_code.get(("UCUM", code))) and is_standard(lookup, known):
            units.setdefault(("UCUM", text.casefold()), known)
    mapped: dict[str, set[str]] = {}
    for use in uses:
        found = mapped[use.place] = set()
        for text in use.texts:
            ids = [lookup.by_code.get((name, text)) or units.get((name, text.casefold())) for name in use.vocabularies]
            known = ids if use.vocabularies else [answers.get(short_name(text))]
            if [concept_id for concept_id in known if concept_id and select_concept(lookup, selection, concept_id)]:
                found.add(text)
    return mapped


def other_spellings() -> list[Code]:
    """Give the shipped spellings of units that are not UCUM's, each with UCUM's code, the preferred one first."""
    text = resources.files("omop_inc").joinpath("cdm", "units.csv").read_text(encoding="utf-8")
    return [(row["unit_source_value"], row["ucum_code"]) for row in csv.DictReader(text.splitlines())]


def select_fixed(lookup: Lookup, selection: Selection) -> list[int]:
    """Take the fixed concepts of the mapping; give the ids that neither folder holds."""
    known = {concept_id for concept_id in FIXED_CONCEPTS if str(concept_id) in lookup.concepts}
    for concept_id in sorted(known):
        select_concept(lookup, selection, str(concept_id))
    return sorted(set(FIXED_CONCEPTS) - known)


def select_drugs(lookup: Lookup, selection: Selection) -> None:
    """Take the ingredients of the chosen drugs and the units of their strengths."""
    for row in lookup.tables["CONCEPT_ANCESTOR"]:
        ancestor = lookup.concepts.get(row["ancestor_concept_id"], {})
        if row["descendant_concept_id"] in selection.concept_ids and ancestor.get("concept_class_id") == "Ingredient":
            select_concept(lookup, selection, row["ancestor_concept_id"])
    for row in lookup.tables["DRUG_STRENGTH"]:
        if row["drug_concept_id"] in selection.concept_ids:
            for unit in filter(None, (row[column] for column in STRENGTH_UNITS)):
                select_concept(lookup, selection, unit)


def chosen_descriptions(lookup: Lookup, selection: Selection) -> dict[str, list[Row]]:
    """Choose the describing rows (domains, classes ...) and take their concepts, until nothing new is named."""
    chosen: dict[str, list[Row]] = {}
    size = -1
    while size != len(selection.concept_ids):
        size = len(selection.concept_ids)
        concepts = [lookup.concepts[concept_id] for concept_id in selection.concept_ids]
        wanted = {
            "DOMAIN": {row["domain_id"] for row in concepts} | set(EVENT_DOMAINS),
            "CONCEPT_CLASS": {row["concept_class_id"] for row in concepts},
            "VOCABULARY": {row["vocabulary_id"] for row in concepts} | {"None"},
            "RELATIONSHIP": wanted_relationships(lookup, selection),
        }
        for table, ids in wanted.items():
            chosen[table] = [row for row in lookup.tables[table] if row[f"{table.lower()}_id"] in ids]
            selection.concept_ids |= {row[f"{table.lower()}_concept_id"] for row in chosen[table]}
        selection.concept_ids |= {row["language_concept_id"] for row in synonyms_of(lookup, selection)} | {"0"}
    chosen["VOCABULARY"] = [describe_vocabulary(row) for row in chosen["VOCABULARY"]]
    return chosen


def wanted_relationships(lookup: Lookup, selection: Selection) -> set[str]:
    """Give the relationships kept between concepts and those whose own concept is chosen, with their reverses."""
    rows = lookup.tables["RELATIONSHIP"]
    ids = {*FORWARD, *FORWARD.values()}
    ids |= {row["relationship_id"] for row in rows if row["relationship_concept_id"] in selection.concept_ids}
    return ids | {row["reverse_relationship_id"] for row in rows if row["relationship_id"] in ids}


def describe_vocabulary(row: Row) -> Row:
    """Say in VOCABULARY that this is a selection: only the row 'None' has a version, and it is our own."""
    version = VERSION if row["vocabulary_id"] == "None" else ""
    return row | {"vocabulary_reference": "", "vocabulary_version": version}


def synonyms_of(lookup: Lookup, selection: Selection) -> list[Row]:
    """Give the fully specified names of the chosen concepts, which some text answers are written as."""
    return [row for row in lookup.tables["CONCEPT_SYNONYM"] if row["concept_id"] in selection.concept_ids]


def drug_ancestors(lookup: Lookup, selection: Selection) -> list[Row]:
    """Give the ancestor rows among the chosen drugs, every standard drug being its own ancestor at level 0."""
    columns = ("ancestor_concept_id", "descendant_concept_id", "min_levels_of_separation", "max_levels_of_separation")
    drugs = {
        concept_id for concept_id in selection.concept_ids if is_standard(lookup, concept_id) and lookup.concepts[concept_id]["domain_id"] == "Drug"
    }
    rows = {(drug, drug): dict(zip(columns, (drug, drug, "0", "0"), strict=True)) for drug in drugs}
    for row in lookup.tables["CONCEPT_ANCESTOR"]:
        pair = (row[columns[0]], row[columns[1]])
        if drugs.issuperset(pair) and pair not in rows:
            rows[pair] = row
    return list(rows.values())


def write_vocabulary(lookup: Lookup, selection: Selection, out: Path) -> None:
    """Write the nine files of the chosen vocabulary."""
    out.mkdir(parents=True, exist_ok=True)
    tables = chosen_descriptions(lookup, selection)
    tables["CONCEPT"] = [lookup.concepts[concept_id] for concept_id in selection.concept_ids]
    tables["CONCEPT_RELATIONSHIP"] = list(selection.relationships.values())
    tables["CONCEPT_ANCESTOR"] = drug_ancestors(lookup, selection)
    tables["CONCEPT_SYNONYM"] = synonyms_of(lookup, selection)
    strengths = lookup.tables["DRUG_STRENGTH"]
    tables["DRUG_STRENGTH"] = [row for row in strengths if row["drug_concept_id"] in selection.concept_ids]
    for name, rows in sorted(tables.items()):
        write_table(out, name, rows)
        print(f"{name:22}{len(rows):>7} rows")


def print_coverage(uses: list[Use], mapped: dict[str, set[str]]) -> None:
    """Say per place of use how many codes and rows have a standard concept, and which codes have none."""
    print(f"\n{'':28}{'codes':>7}{'mapped':>8}{'rows':>8}{'mapped':>8}")
    for use in uses:
        known = mapped[use.place]
        rows = sum(count for text, count in use.texts.items() if text in known)
        print(f"{use.place:28}{len(use.texts):>7}{len(known):>8}{use.texts.total():>8}{rows:>8}")
    for use in uses:
        if use.texts.keys() - mapped[use.place]:
            print(f"\nunmapped in {use.place}: {', '.join(sorted(use.texts.keys() - mapped[use.place]))}")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("snapshots", nargs="+", type=Path, help="folders of Synthea CSV files, plain or .gz")
    parser.add_argument("--athena", required=True, type=Path, help="folder or zip of an Athena download")
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    parser.add_argument("--supplement", type=Path, default=HERE / "supplement", help="facts that the download lacks")
    options = parser.parse_args()
    uses = count_uses(options.snapshots)
    lookup = read_lookup(options.athena, options.supplement, uses, FIXED_CONCEPTS)
    selection = Selection()
    mapped = select_uses(lookup, selection, uses)
    missing = select_fixed(lookup, selection)
    select_drugs(lookup, selection)
    write_vocabulary(lookup, selection, options.out)
    print_coverage(uses, mapped)
    if missing:
        print(f"\nfixed concepts found nowhere: {missing}")


if __name__ == "__main__":
    main()
