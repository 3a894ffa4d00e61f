"""Imaging studies: which procedure stands for one, and what they add.

Belongs here: imaging_studies. Does not: procedures (events.py).
Source: docs/mapping/procedure_occurrence.md, "Imaging studies"; observation.md, "Body sites".
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from tests.oracle.concepts import Vocabulary
from tests.oracle.events import Chart, day, moment
from tests.oracle.fates import World
from tests.oracle.labels import Record, cut, label
from tests.oracle.source import SourceRow, ordered

CONTENT_ORDER = [
    "date",
    "series_uid",
    "instance_uid",
    "modality_code",
    "procedure_code",
    "bodysite_code",
    "bodysite_description",
    "modality_description",
    "sop_code",
    "sop_description",
]

ProcedureKey = tuple[str, str | None, str | None, date | None]


@dataclass(frozen=True)
class Study:
    """The rows of one study, in content order."""

    rows: list[SourceRow]

    @property
    def first(self) -> SourceRow:
        """The row that stands for it."""
        return self.rows[0]

    @property
    def key(self) -> ProcedureKey:
        """Patient, encounter, code and day of the procedure that it is."""
        one = self.first
        return one.patient, one["encounter"], one["procedure_code"], day(one["date"])

    @property
    def sites(self) -> list[SourceRow]:
        """The first row of each body site."""
        found: dict[str, SourceRow] = {}
        for row in self.rows:
            if row["bodysite_code"] is not None:
                found.setdefault(row["bodysite_code"], row)
        return list(found.values())


@lru_cache(maxsize=1)
def studies_of(world: World) -> list[Study]:
    """All studies."""
    found = defaultdict(list)
    for row in world.rows["imaging_studies"]:
        found[row.patient, row["encounter"], row["id"]].append(row)
    return [Study(sorted(rows, key=lambda row: ordered(*(row[column] for column in CONTENT_ORDER)))) for rows in found.values()]


def procedure_keys(world: World) -> set[ProcedureKey]:
    """Patient, encounter, code and day of all procedures; one without an encounter stands for no study."""
    rows = (row for row in world.rows["procedures"] if row["encounter"])
    return {(row.patient, row["encounter"], row["code"], day(row["start"])) for row in rows}


def modalities(world: World) -> dict[ProcedureKey, str]:
    """The first modality of the studies that a procedure stands for."""
    found: dict[ProcedureKey, str] = {}
    for study in studies_of(world):
        modality = study.first["modality_code"]
        if modality is not None and study.first["encounter"]:
            found[study.key] = min(modality, found.get(study.key, modality))
    return found


def imaging_rows(chart: Chart) -> Iterator[tuple[str, Record]]:
    """Studies without a procedure, and the body sites of all, as rows of CDM tables."""
    procedures = procedure_keys(chart.world)
    for study in studies_of(chart.world):
        if study.key not in procedures:
            yield "procedure_occurrence", _procedure(study.first, chart)
        for row in study.sites:
            yield "observation", _body_site(row, chart)


def _procedure(row: SourceRow, chart: Chart) -> Record:
    vocabulary, code, modality = chart.vocabulary, row["procedure_code"], row["modality_code"]
    return chart.links(row) | {
        "procedure_occurrence_id": label(row),
        "procedure_concept_id": _procedure_concept(code, vocabulary),
        "procedure_date": day(row["date"]),
        "procedure_datetime": moment(row["date"]),
        "procedure_type_concept_id": chart.type_of(row),
        "modifier_concept_id": vocabulary.standard("DICOM", modality) if modality else None,
        "modifier_source_value": cut(modality, 50),
        "procedure_source_value": cut(code or modality, 50),
        "procedure_source_concept_id": vocabulary.source_concept("SNOMED", code) if code else 0,
    }


def _procedure_concept(code: str | None, vocabulary: Vocabulary) -> int:
    targets = vocabulary.targets("SNOMED", code) if code else []
    return next((one.concept.concept_id for one in targets if one.concept.domain == "Procedure"), 0)


def _body_site(row: SourceRow, chart: Chart) -> Record:
    vocabulary, site = chart.vocabulary, row["bodysite_code"]
    return chart.links(row) | {
        "observation_id": label(row),
        "observation_concept_id": vocabulary.standard("LOINC", "39111-0"),
        "observation_date": day(row["date"]),
        "observation_datetime": moment(row["date"]),
        "observation_type_concept_id": chart.type_of(row),
        "value_as_string": cut(row["bodysite_description"], 60),
        "value_as_concept_id": vocabulary.standard("SNOMED", site),
        "observation_source_value": cut(site, 50),
        "observation_source_concept_id": vocabulary.source_concept("SNOMED", site),
        "value_source_value": cut(site, 50),
    }
