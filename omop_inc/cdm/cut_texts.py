"""Texts of the source that are longer than the CDM column that they go to: cut there, and counted here.

Belongs here: which source column is cut at which length, and the count. Does not: the cut itself (sql/transform, sql/view/place.sql).
Labels that a transform puts together (location_source_value) are not texts of the source and are not counted.
"""

from collections.abc import Mapping
from types import MappingProxyType

from psycopg import sql

from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.store.db import Connection, execute
from omop_inc.store.schemas import name

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


def count_cut_texts(connection: Connection, schema: str, table: str, suffix: str = "") -> dict[str, int]:
    """Count the rows whose text is cut, in one pass over them.

    Args:
        schema: Of the rows looked at.
        table: Their source table.
        suffix: Of the rows' table: a delta's rows are in `<name>_in`, and only these are counted in an increment.

    Returns:
        Counts above 0 by `<table>.<column>`.
    """
    limits = {column: limit for column, limit in CUT_AT.get(table, {}).items() if column in SOURCE_TABLES[table].staged}
    if not limits:
        return {}
    # Bytes are counted first: reading characters costs more, and nearly every text is short in bytes already.
    counted = [
        sql.SQL("count(*) FILTER (WHERE octet_length({0}) > {1} AND length({0}) > {1})").format(sql.Identifier(column), sql.Literal(limit))
        for column, limit in limits.items()
    ]
    row = execute(connection, sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(counted), name(schema, table + suffix))).fetchone() or ()
    return {f"{table}.{column}": int(count) for column, count in zip(limits, row, strict=True) if count}
