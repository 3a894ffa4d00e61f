"""Which CDM tables a coded source row goes to, and as what.

Belongs here: the vocabulary of a row's code, its standard concepts, their tables, which of them keeps the row's id.
Does not: the fields of a CDM row (events.py, allergies.py).
Source: docs/mapping/condition_occurrence.md, "How every coded row finds its table".
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.oracle.concepts import Vocabulary
from tests.oracle.labels import label
from tests.oracle.source import SourceRow

CODED = ("conditions", "medications", "immunizations", "procedures", "observations", "allergies", "careplans", "devices", "supplies")
TABLES = {
    "Condition": "condition_occurrence",
    "Drug": "drug_exposure",
    "Procedure": "procedure_occurrence",
    "Measurement": "measurement",
    "Observation": "observation",
    "Device": "device_exposure",
    "Specimen": "specimen",
}
UNMAPPED = {
    "conditions": "condition_occurrence", "medications": "drug_exposure", "immunizations": "drug_exposure", "procedures": "procedure_occurrence",
    "devices": "device_exposure", "supplies": "device_exposure", "allergies": "observation", "careplans": "observation",
}  # fmt: skip
SYSTEMS = {
    "snomed-ct": "SNOMED", "http://snomed.info/sct": "SNOMED", "rxnorm": "RxNorm", "http://www.nlm.nih.gov/research/umls/rxnorm": "RxNorm",
    "http://loinc.org": "LOINC",
}  # fmt: skip
FILES_OWN = {"medications": "RxNorm", "immunizations": "CVX"}
LOINC_CODE = re.compile(r"[0-9]+-[0-9]")


@dataclass(frozen=True)
class Coded:
    """A source row as one row of a CDM table."""

    row: SourceRow
    table: str
    concept_id: int
    source_concept_id: int
    value: int | None = None  # that the code implies
    is_first: bool = True  # whether it has the source row's id

    @property
    def event_id(self) -> str | None:
        """What the id of the CDM row stands for; nothing tells second targets of a row apart but their concepts."""
        return label(self.row) if self.is_first else None


def vocabulary_of(row: SourceRow) -> str:
    """The vocabulary of a row's code."""
    system = row.get("system")
    if system and system.lower() != "unknown":
        return SYSTEMS.get(system.lower(), system)
    if row.table == "observations":
        return "LOINC" if LOINC_CODE.fullmatch(row["code"]) else "SNOMED"
    if row.table == "allergies":
        return "RxNorm" if _is_drug_code(row) else "SNOMED"
    return FILES_OWN.get(row.table, "SNOMED")


def _is_drug_code(row: SourceRow) -> bool:
    code = row["code"]
    return (row["category"] or "").lower() == "medication" and re.fullmatch("[0-9]{1,7}", code) is not None and not _has_snomed_shape(code)


def _has_snomed_shape(code: str) -> bool:
    """Whether a code has the shape of a SNOMED concept id: 6 to 18 digits, partition 00 or 10, a check digit."""
    return re.fullmatch(r"[1-9][0-9]{2,14}(00|10)[0-9]", code) is not None


def route(row: SourceRow, vocabulary: Vocabulary) -> Iterator[Coded]:
    """The CDM rows of a coded source row, allergies aside."""
    system = vocabulary_of(row)
    source = vocabulary.source_concept(system, row["code"])
    targets = vocabulary.targets(system, row["code"])
    if not targets:
        yield Coded(row, unmapped_table(row), 0, source)
    seen: set[str] = set()
    for target in targets:
        table = TABLES.get(target.concept.domain, "observation")
        yield Coded(row, table, target.concept.concept_id, source, target.value, table not in seen)
        seen.add(table)


def unmapped_table(row: SourceRow) -> str:
    """The table of a row whose code has no standard concept."""
    if row.table == "observations":
        kept_as_measurement = row["type"] == "numeric" or (row["category"] or "") in ("vital-signs", "laboratory")
        return "measurement" if kept_as_measurement else "observation"
    return UNMAPPED[row.table]
