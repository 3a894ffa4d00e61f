"""Read what may be wanted out of an Athena download, and write a folder in its format.

What belongs here: which rows of a full download are worth keeping in memory. What does not: what a snapshot needs
(make_vocabulary.py), finding the files of a download (omop_inc.cdm.athena), loading them (omop_inc.cdm.vocabulary).
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from omop_inc.cdm import athena, spec

Row = dict[str, str]
Code = tuple[str, str]  # vocabulary_id, code

FORWARD = {"Maps to": "Mapped from", "Maps to value": "Value mapped from"}  # relationships kept, and their reverses
METADATA = {
    "DOMAIN": "Domain",
    "CONCEPT_CLASS": "Concept Class",
    "VOCABULARY": "Vocabulary",
    "RELATIONSHIP": "Relationship",
}
FULL_NAME = re.compile(r" \((qualifier value|finding|disorder|situation)\)$")
STRENGTH_UNITS = ("amount_unit_concept_id", "numerator_unit_concept_id", "denominator_unit_concept_id")


@dataclass(frozen=True, kw_only=True)
class Use:
    """What the snapshots write in one place."""

    place: str  # table.column
    vocabularies: tuple[str, ...]  # that the texts can be codes of; empty for answers in words
    texts: Counter[str]  # code, unit or answer -> number of rows


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """What the user's folder and the supplement know about the snapshots' texts; the rest of them is never kept."""

    tables: dict[str, list[Row]]  # Athena file name without suffix -> rows that may be wanted
    concepts: dict[str, Row]  # concept_id -> row of CONCEPT
    by_code: dict[Code, str]  # (vocabulary_id, concept_code) -> concept_id, valid concepts first
    targets: dict[str, list[Row]]  # concept_id -> its valid 'Maps to' and 'Maps to value'


def read_lookup(download: Path, supplement: Path, uses: list[Use], fixed: Iterable[int]) -> Lookup:
    """Read what may be wanted out of both folders, row by row: an Athena download is larger than memory.

    A concept that the supplement describes is taken from there; of the other tables it adds only pairs not in Athena's.
    """

    def rows(name: str) -> Iterator[Row]:
        yield from read_download(download, name)
        yield from read_supplement(supplement, name)

    def completed(name: str, is_wanted: Callable[[Row], bool]) -> list[Row]:
        wanted = list(filter(is_wanted, read_download(download, name)))
        known = {pair_of(row) for row in wanted}
        more = filter(is_wanted, read_supplement(supplement, name))
        return wanted + [row for row in more if pair_of(row) not in known]

    tables = {name: list(rows(name)) for name in ("DOMAIN", "CONCEPT_CLASS", "VOCABULARY", "RELATIONSHIP")}
    answers = {short_name(text) for use in uses if not use.vocabularies for text in use.texts}
    tables["CONCEPT_SYNONYM"] = completed("CONCEPT_SYNONYM", lambda row: is_full_name(row, answers))
    ids = {row["concept_id"] for row in tables["CONCEPT_SYNONYM"]} | {str(concept_id) for concept_id in fixed}
    codes = {(name, code) for use in uses for name in use.vocabularies for code in use.texts}
    ids |= {row["concept_id"] for row in rows("CONCEPT") if is_candidate(row, codes, answers)}
    tables["CONCEPT_RELATIONSHIP"] = completed("CONCEPT_RELATIONSHIP", lambda row: is_map_of(row, ids))
    ids |= {row["concept_id_2"] for row in tables["CONCEPT_RELATIONSHIP"]}
    tables["CONCEPT_ANCESTOR"] = completed("CONCEPT_ANCESTOR", lambda row: row["descendant_concept_id"] in ids)
    tables["DRUG_STRENGTH"] = completed("DRUG_STRENGTH", lambda row: row["drug_concept_id"] in ids)
    ids |= {row["ancestor_concept_id"] for row in tables["CONCEPT_ANCESTOR"]} | {"0"}
    ids |= {row[column] for row in tables["DRUG_STRENGTH"] for column in STRENGTH_UNITS}
    ids |= {row["language_concept_id"] for row in tables["CONCEPT_SYNONYM"]}
    concepts = {row["concept_id"]: row for row in metadata_concepts(tables)}
    ids |= concepts.keys()
    concepts |= {row["concept_id"]: row for row in rows("CONCEPT") if row["concept_id"] in ids}
    return index_lookup(tables, concepts)


def pair_of(row: Row) -> tuple[str, str]:
    """Give the first two columns, which say what a row of a table between concepts is about."""
    first, second, *_ = row.values()
    return first, second


def is_full_name(synonym: Row, answers: set[str]) -> bool:
    """Tell whether a synonym is a fully specified name that some answer is written as."""
    name = synonym["concept_synonym_name"]
    return FULL_NAME.search(name) is not None and short_name(name) in answers


def is_map_of(relationship: Row, ids: set[str]) -> bool:
    """Tell whether a relationship is a valid mapping of one of the concepts."""
    is_valid = relationship["relationship_id"] in FORWARD and not relationship["invalid_reason"]
    return is_valid and relationship["concept_id_1"] in ids


def read_download(path: Path, name: str) -> Iterator[Row]:
    """Give the rows of one file of an Athena folder or zip; none when the download lacks it."""
    file = athena.find_files(path).get(name.lower())
    if file is not None:
        with athena.open_file(path, file) as stream:
            yield from rows_of(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""))


def read_supplement(folder: Path, name: str) -> Iterator[Row]:
    """Give the rows of one file of the supplement; none when it lacks it."""
    if (folder / f"{name}.csv").exists():
        with (folder / f"{name}.csv").open(encoding="utf-8-sig", newline="") as lines:
            yield from rows_of(lines)


def rows_of(lines: Iterable[str]) -> Iterator[Row]:
    """Give the rows of a text in Athena's format: tab separated, a double quote is data."""
    yield from csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)


def is_candidate(row: Row, codes: set[Code], answers: set[str]) -> bool:
    """Tell whether a row of CONCEPT is a unit, an answer in use or a code in use."""
    if row["vocabulary_id"] == "UCUM" or (row["vocabulary_id"], row["concept_code"]) in codes:
        return True
    return is_answer(row) and short_name(row["concept_name"]) in answers


def is_answer(concept: Row) -> bool:
    """Tell whether a concept is meant as the answer to a question."""
    return concept["domain_id"] == "Meas Value" or concept["concept_class_id"] == "Answer"


def short_name(text: str) -> str:
    """Give a name as names are compared: folded, and without SNOMED's tag, as in 'Detected (qualifier value)'."""
    return FULL_NAME.sub("", text).casefold()


def index_lookup(tables: dict[str, list[Row]], concepts: dict[str, Row]) -> Lookup:
    """Make the rows that were read accessible by code and by source concept."""
    by_code: dict[Code, str] = {}
    for row in sorted(concepts.values(), key=lambda row: (row["invalid_reason"] != "", int(row["concept_id"]))):
        by_code.setdefault((row["vocabulary_id"], row["concept_code"]), row["concept_id"])
    targets: dict[str, list[Row]] = defaultdict(list)
    for row in tables["CONCEPT_RELATIONSHIP"]:
        targets[row["concept_id_1"]].append(row)
    return Lookup(tables=tables, concepts=concepts, by_code=by_code, targets=targets)


def metadata_concepts(tables: dict[str, list[Row]]) -> Iterator[Row]:
    """Give the concepts that stand for domains, classes, vocabularies and relationships, as Athena writes them."""
    for table, vocabulary in METADATA.items():
        prefix = table.lower()
        for row in tables[table]:
            yield {
                "concept_id": row[f"{prefix}_concept_id"],
                "concept_name": row[f"{prefix}_name"],
                "domain_id": "Metadata",
                "vocabulary_id": vocabulary,
                "concept_class_id": vocabulary,
                "standard_concept": "",
                "concept_code": "OMOP generated",
                "valid_start_date": "19700101",
                "valid_end_date": "20991231",
                "invalid_reason": "",
            }


def is_standard(lookup: Lookup, concept_id: str) -> bool:
    """Tell whether a concept is standard and valid, so that clinical rows may carry it."""
    concept = lookup.concepts.get(concept_id)
    return concept is not None and concept["standard_concept"] == "S" and not concept["invalid_reason"]


def write_table(folder: Path, name: str, rows: list[Row]) -> None:
    """Write rows as Athena does, without quotes, sorted so that the same choice gives the same bytes."""
    columns = next(table.columns for table in spec.tables_of("vocab") if table.name == name.lower())
    lines = ["\t".join(row[column] for column in columns) for row in rows]
    lines.sort(key=sort_key)
    text = "\n".join(["\t".join(columns), *lines]) + "\n"
    (folder / f"{name}.csv").write_text(text, encoding="utf-8", newline="\n")


def sort_key(line: str) -> list[tuple[bool, int, str]]:
    """Sort by cell, ids as numbers."""
    return [(not cell.isdigit(), int(cell) if cell.isdigit() else 0, cell) for cell in line.split("\t")]
