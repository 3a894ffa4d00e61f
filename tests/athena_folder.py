"""Small Athena folders for tests: valid files, whose rows a test adds to or replaces."""

from collections.abc import Sequence
from pathlib import Path

HEADERS = {
    "CONCEPT": "concept_id concept_name domain_id vocabulary_id concept_class_id standard_concept concept_code valid_start_date valid_end_date"
    " invalid_reason",
    "CONCEPT_RELATIONSHIP": "concept_id_1 concept_id_2 relationship_id valid_start_date valid_end_date invalid_reason",
    "VOCABULARY": "vocabulary_id vocabulary_name vocabulary_reference vocabulary_version vocabulary_concept_id",
    "DOMAIN": "domain_id domain_name domain_concept_id",
    "SOURCE_TO_CONCEPT_MAP": "source_code source_concept_id source_vocabulary_id source_code_description target_concept_id target_vocabulary_id"
    " valid_start_date valid_end_date invalid_reason",
}

Concept = tuple[object, ...]


def concept(
    concept_id: int,
    code: str,
    vocabulary: str = "SNOMED",
    *,
    name: str = "",
    domain: str = "Condition",
    klass: str = "",
    standard: str = "S",
    invalid: str = "",
) -> Concept:
    """One line of CONCEPT.csv."""
    return (concept_id, name or f"concept {concept_id}", domain, vocabulary, klass or "Undefined", standard, code, 19700101, 20991231, invalid)


def maps_to(concept_1: int, concept_2: int, relationship: str = "Maps to", *, invalid: str = "") -> tuple[object, ...]:
    """One line of CONCEPT_RELATIONSHIP.csv."""
    return (concept_1, concept_2, relationship, 19700101, 20991231, invalid)


def own_code(code: str, target: int, vocabulary: str = "SNOMED", *, source: int = 0, end: int = 20991231, invalid: str = "") -> tuple[object, ...]:
    """One line of SOURCE_TO_CONCEPT_MAP.csv."""
    return (code, source, vocabulary, "", target, "SNOMED", 19700101, end, invalid)


def table_text(table: str, rows: Sequence[Sequence[object]]) -> str:
    """A file's text: its header, then the rows."""
    return "".join("\t".join(map(str, line)) + "\n" for line in (HEADERS[table].split(), *rows))


def make_athena(
    folder: Path,
    concepts: Sequence[Concept] = (),
    relationships: Sequence[Sequence[object]] = (),
    own_codes: Sequence[Sequence[object]] | None = None,
    *,
    version: str = "v5.0 30-AUG-24",
) -> Path:
    """Write a folder that loads: concept 0, what is given, and the files that are always needed."""
    folder.mkdir(parents=True, exist_ok=True)
    nothing = concept(0, "No matching concept", "None", name="No matching concept", domain="Metadata", standard="")
    files: dict[str, Sequence[Sequence[object]]] = {
        "CONCEPT": [nothing, *concepts],
        "CONCEPT_RELATIONSHIP": [*relationships, maps_to(0, 0)],
        "VOCABULARY": [("None", "OMOP Standardized Vocabularies", "OMOP generated", version, 0)],
        "DOMAIN": [("Metadata", "Metadata", 0)],
    }
    if own_codes is not None:
        files["SOURCE_TO_CONCEPT_MAP"] = own_codes
    for table, rows in files.items():
        (folder / f"{table}.csv").write_text(table_text(table, rows), encoding="utf-8")
    return folder
