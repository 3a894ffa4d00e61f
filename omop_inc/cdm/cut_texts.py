"""Texts of the source that are longer than the CDM column that they go to: cut there, and counted.

Belongs here: which source column is cut at which length. Does not: the cut itself (sql/transform, sql/view/place.sql), the count
(store/survey.py).
Labels that a transform puts together (location_source_value) are not texts of the source and are not counted.
"""

from collections.abc import Mapping
from types import MappingProxyType

from omop_inc.source.tables import SOURCE_TABLES

_CODED = {"code": 50}
_ADDRESS = {"address": 50, "city": 50, "zip": 9}

# By source table and staged column the length of the narrowest CDM column that it goes to; a test holds it against the SQL.
CUT_AT: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "patients": {"gender": 50, "race": 50, "ethnicity": 50, "county": 20, **_ADDRESS},
        "organizations": {"name": 255, **_ADDRESS},
        "providers": {"name": 255, "gender": 50, "speciality": 50, **_ADDRESS},
        "payers": {"name": 50},
        "payer_transitions": {"memberid": 50, "plan_ownership": 50},
        "encounters": {"encounterclass": 50, "reasoncode": 50},
        "conditions": _CODED,
        "medications": _CODED,
        "immunizations": _CODED,
        "procedures": _CODED,
        "careplans": _CODED,
        "supplies": _CODED,
        "devices": {**_CODED, "udi": 255},
        "observations": {**_CODED, "units": 50, "value": 50},
        "allergies": {
            **_CODED,
            **{column: 50 for number in (1, 2) for column in (f"reaction{number}", f"description{number}", f"severity{number}")},
        },
        "imaging_studies": {"procedure_code": 50, "modality_code": 50, "bodysite_code": 50, "bodysite_description": 60},
    }
)


def cut_at(table: str) -> dict[str, int]:
    """By staged column of a source table the most characters that the CDM keeps of it."""
    return {column: limit for column, limit in CUT_AT.get(table, {}).items() if column in SOURCE_TABLES[table].staged}
