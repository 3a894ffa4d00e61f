"""From a CDM row back to the source rows that it comes from.

Belongs here: the queries that follow ids, content keys and spans, for one row at a time. Does not: the way on from a source
row (descent.py), words for a person (telling/explaining.py), when a row was seen (store/history.py).

An id is the row_id of a source row, or stands for content: a second target, a reaction, a place, a span of time. Of
content the key is computed again, as the transforms do, and compared; so a link is exact, never a likeness.
"""

from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from omop_inc.cdm.local_time import UTC, local_instant
from omop_inc.cdm.outcomes import EVENT_TABLES, FATES
from omop_inc.cdm.spec import cdm_tables, identity
from omop_inc.cdm.transforms import views
from omop_inc.cdm.world import set_search_path
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.store.db import Connection, execute, fetch_value
from omop_inc.store.schemas import Schemas

Row = dict[str, Any]

CODED = tuple(table for table, fates in FATES.items() if fates.tables == EVENT_TABLES)
# CDM tables beside those of FATES whose id is the row_id of a row of a source table.
NAMED_AFTER = {"visit_occurrence": ("encounters",), "observation_period": ("patients",), "death": ("patients",)}
WITHOUT_ROWS = {
    "cdm_source": "it tells of the snapshot, the vocabulary and the tool",
    "metadata": "it tells of the tool",
    "fact_relationship": "it has no id; explain the rows that it links",
}


@dataclass(frozen=True, kw_only=True)
class Link:
    """A row at the other end, and what joins it."""

    table: str
    row_id: int  # the source row's row_id, or the CDM row's id
    how: str = ""


def prepare(connection: Connection, schemas: Schemas) -> None:
    """Let plain names lead to the committed CDM, image, state and vocabulary until the transaction ends, and know the CDM's time zone."""
    set_search_path(connection, [schemas.cdm, schemas.staging, schemas.state, schemas.vocabulary])
    made_in = "SELECT fingerprint ->> 'time_zone' FROM {} WHERE generation IS NOT NULL ORDER BY generation DESC LIMIT 1"
    text = sql.SQL("SELECT set_config({}, coalesce((" + made_in + "), {}), true)")
    execute(connection, text.format(sql.Literal(_ZONE), sql.Identifier(schemas.ledger, "run"), sql.Literal(UTC)))


_ZONE = "omop_inc.time_zone"  # a setting of the session's transaction
# The day on which a transition (`own`) of somebody in `patients` begins, as in transform/payer_plan_period.sql.
TRANSITION_DAY = sql.SQL(
    "CASE WHEN {0} = date_trunc('year', patients.birthdate::timestamp) THEN patients.birthdate::date ELSE ({0})::date END"
).format(local_instant(sql.SQL("own.start_date"), sql.SQL("current_setting({})").format(sql.Literal(_ZONE)), is_period=True))


def read_cdm_row(connection: Connection, table: str, row_id: int) -> Row | None:
    """A CDM row by its id; death by its person."""
    key = sql.Identifier(identity(cdm_tables()[table])[0])
    return _one(connection, sql.SQL("SELECT * FROM {} WHERE {} = %s").format(sql.Identifier(table), key), (row_id,))


def _one(connection: Connection, query: sql.Composed, parameters: Any) -> Row | None:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, parameters).fetchone()


def links(connection: Connection, query: sql.Composed | str, parameters: Any, how: str = "") -> list[Link]:
    """The rows (table, id) that a query names."""
    return [Link(table=table, row_id=row_id, how=how) for table, row_id in execute(connection, query, parameters)]


def person_of(connection: Connection, table: str, row: Row) -> tuple[int, Any] | None:
    """The person of a CDM row with the patient's Id, or None."""
    person = row.get("person_id")
    if table == "cost":
        person = fetch_value(connection, "SELECT person_id FROM cost_person WHERE cost_id = %s", (row["cost_id"],))
    if person is None:
        return None
    return int(person), fetch_value(connection, "SELECT id FROM patients WHERE row_id = %s", (person,))


def sources_of(connection: Connection, table: str, row: Row) -> list[Link]:
    """The source rows that a CDM row comes from, that of its own id first."""
    row_id = int(row[identity(cdm_tables()[table])[0]])
    person = person_of(connection, table, row)
    found = _own(connection, table, row_id, person[1] if person else None)
    if table in EVENT_TABLES and not found and person:
        found = _by_content(connection, table, row, person[1])
    if table in _BEHIND:
        found += [link for link in links(connection, *_BEHIND[table](row, person)) if link.row_id != row_id]
    if table in THROUGH:
        through, query = THROUGH[table]
        for (inner,) in execute(connection, query, row).fetchall():
            found += [Link(table=o.table, row_id=o.row_id, how=f"through {through} {inner}") for o in _own_of_event(connection, through, inner)]
    return list(dict.fromkeys(found))


def _own(connection: Connection, table: str, row_id: int, patient: Any) -> list[Link]:
    """The source row whose row_id is the CDM row's id."""
    sources = NAMED_AFTER.get(table) or tuple(s for s, fates in FATES.items() if table in (*fates.tables, *fates.also))
    parts = []
    for source in sources:
        owner = SOURCE_TABLES[source].patient
        narrowed = sql.SQL(" AND {} = {}").format(sql.Identifier(owner), sql.Literal(patient)) if owner and patient else sql.SQL("")
        parts.append(
            sql.SQL("SELECT {}, row_id FROM {} WHERE row_id = {}{}").format(
                sql.Literal(source), sql.Identifier(source), sql.Literal(row_id), narrowed
            )
        )
    return links(connection, sql.SQL(" UNION ALL ").join(parts), None) if parts else []


def _own_of_event(connection: Connection, table: str, row_id: int) -> list[Link]:
    row = read_cdm_row(connection, table, row_id)
    return sources_of(connection, table, row) if row else []


def content_keys(table: str, row_id: sql.Composable, row: str) -> sql.Composed:
    """The keys that a further target of a source row may have: of each concept and value that the CDM row shows."""
    concept = sql.SQL("{}::text").format(sql.Identifier(row, _concept_field(table)))
    value = (
        sql.SQL("{}::text").format(sql.Identifier(row, "value_as_concept_id")) if table in ("measurement", "observation") else sql.SQL("NULL::text")
    )
    keys = [
        sql.SQL("content_key({}, {}::text, {}, {})").format(sql.Literal(table), row_id, one, other)
        for one, other in ((concept, sql.SQL("NULL::text")), (concept, value), (value, sql.SQL("NULL::text")))
    ]
    return sql.SQL(", ").join(keys)


def _concept_field(table: str) -> str:
    return {"drug_exposure": "drug_concept_id", "device_exposure": "device_concept_id"}.get(table, f"{table.partition('_')[0]}_concept_id")


def reaction_keys(row_id: sql.Composable) -> sql.Composed:
    """The keys of an allergy's reactions."""
    return sql.SQL(", ").join(sql.SQL("content_key('observation', {}::text, 'reaction', {})").format(row_id, sql.Literal(n)) for n in ("1", "2"))


def _by_content(connection: Connection, table: str, row: Row, patient: Any) -> list[Link]:
    """The source row of a further target, or the allergy of a reaction."""
    parts: list[sql.Composable] = []
    source_id = sql.Identifier("source", "row_id")
    for source in CODED:
        keys = content_keys(table, source_id, "target")
        if source == "allergies" and table == "observation":
            keys = sql.SQL("{}, {}").format(keys, reaction_keys(source_id))
        parts.append(
            sql.SQL("SELECT {}, source.row_id FROM {} AS source WHERE source.patient = {} AND content.id_key IN ({})").format(
                sql.Literal(source), sql.Identifier(source), sql.Literal(patient), keys
            )
        )
    key = sql.Identifier(f"{table}_id")
    query = sql.SQL(
        "SELECT found.source_table, found.row_id FROM {table} AS target INNER JOIN content_id AS content ON content.id = target.{key}"
        " CROSS JOIN LATERAL ({parts}) AS found (source_table, row_id) WHERE target.{key} = %s"
    ).format(table=sql.Identifier(table), key=key, parts=sql.SQL(" UNION ALL ").join(parts))
    return links(connection, query, (row[f"{table}_id"],), "a further target of its code, or a reaction")


def place_query(where: str, listed: str = "place.source_table, place.row_id") -> sql.Composed:
    """A query over the addresses of people, organizations and providers, with the keys of their locations."""
    return sql.SQL("SELECT {} FROM ({}) AS place WHERE {}").format(sql.SQL(listed), sql.SQL(views()["place"].text), sql.SQL(where))


def _behind_visit(row: Row, person: Any) -> tuple[Any, Any, str]:
    query = (
        "SELECT 'encounters', encounters.row_id FROM visit_detail INNER JOIN encounters ON encounters.row_id = visit_detail.visit_detail_id"
        " AND encounters.patient = %s WHERE visit_detail.visit_occurrence_id = %s ORDER BY encounters.start, encounters.row_id"
    )
    return query, (person[1] if person else None, row["visit_occurrence_id"]), "an encounter of this visit"


def _behind_location(row: Row, _person: Any) -> tuple[Any, Any, str]:
    return place_query("place.id_key = (SELECT content_id.id_key FROM content_id WHERE content_id.id = %s)"), (row["location_id"],), "this address"


def _behind_payer_period(row: Row, person: Any) -> tuple[Any, Any, str]:
    query = sql.SQL(
        "SELECT 'payer_transitions', own.row_id FROM payer_transitions AS own INNER JOIN content_id ON content_id.id = %(period)s"
        " INNER JOIN patients ON patients.id = own.patient WHERE own.patient = %(patient)s AND {} BETWEEN %(start)s AND %(stop)s"
        " AND content_id.id_key = content_key('payer_plan_period', %(person)s::text, own.payer::text, own.plan_ownership, %(start)s::date::text)"
        " ORDER BY own.start_date, own.row_id"
    ).format(TRANSITION_DAY)
    parameters = {
        "period": row["payer_plan_period_id"], "patient": person[1], "person": person[0],
        "start": row["payer_plan_period_start_date"], "stop": row["payer_plan_period_end_date"],
    }  # fmt: skip
    return query, parameters, "a transition merged into this period"


def _behind_repeats(source: str, key: str) -> Any:
    def query(row: Row, _person: Any) -> tuple[Any, Any, str]:
        text = sql.SQL("SELECT {}, twin.row_id FROM {} AS twin WHERE twin.id = (SELECT id FROM {} WHERE row_id = %s) ORDER BY 2")
        return text.format(sql.Literal(source), sql.Identifier(source), sql.Identifier(source)), (row[key],), "a row of the same Id"

    return query


def _behind_cost(row: Row, person: Any) -> tuple[Any, Any, str]:
    query = """
        WITH priced AS (
            SELECT row_id, encounter, code, start AS start_at FROM medications WHERE patient = %(patient)s
            UNION ALL SELECT row_id, encounter, code, date FROM immunizations WHERE patient = %(patient)s
            UNION ALL SELECT row_id, encounter, code, start FROM procedures WHERE patient = %(patient)s
        ), line AS (
            SELECT own.row_id, own.appointmentid, own.procedurecode, own.fromdate,
                coalesce(own.appointmentid, claims.appointmentid) AS encounter
            FROM claims_transactions AS own
            LEFT JOIN claims ON claims.id = own.claimid AND claims.patientid = own.patientid
            WHERE own.patientid = %(patient)s AND own.type <> 'TRANSFEROUT'
        ), met AS (
            SELECT line.row_id, line.encounter, priced.row_id AS priced_row_id FROM line
            LEFT JOIN priced ON priced.encounter = line.appointmentid AND priced.code = line.procedurecode AND priced.start_at = line.fromdate
        )
        SELECT DISTINCT 'claims_transactions', met.row_id FROM met
        LEFT JOIN encounters ON encounters.id = met.encounter AND encounters.patient = %(patient)s
        WHERE %(cost)s = coalesce(met.priced_row_id, encounters.row_id) ORDER BY 2
    """
    return query, {"patient": person[1] if person else None, "cost": row["cost_id"]}, "a transaction of the same encounter, code and start"


_BEHIND = {
    "cost": _behind_cost,
    "visit_occurrence": _behind_visit,
    "location": _behind_location,
    "payer_plan_period": _behind_payer_period,
    "care_site": _behind_repeats("organizations", "care_site_id"),
    "provider": _behind_repeats("providers", "provider_id"),
}
# Spans of time, and the event rows in them.
THROUGH = {
    "condition_era": (
        "condition_occurrence",
        "SELECT condition_occurrence_id FROM condition_occurrence WHERE person_id = %(person_id)s AND condition_concept_id = %(condition_concept_id)s"
        " AND condition_start_date BETWEEN %(condition_era_start_date)s AND %(condition_era_end_date)s ORDER BY condition_start_date, 1",
    ),
    "drug_era": (
        "drug_exposure",
        "SELECT drug_exposure_id FROM drug_exposure WHERE person_id = %(person_id)s"
        " AND drug_exposure_start_date BETWEEN %(drug_era_start_date)s AND %(drug_era_end_date)s"
        " AND EXISTS (SELECT FROM concept_ancestor WHERE ancestor_concept_id = %(drug_concept_id)s AND descendant_concept_id = drug_concept_id)"
        " ORDER BY drug_exposure_start_date, 1",
    ),
    "dose_era": (
        "drug_exposure",
        "SELECT drug_exposure_id FROM drug_exposure WHERE person_id = %(person_id)s"
        " AND drug_exposure_start_date BETWEEN %(dose_era_start_date)s AND %(dose_era_end_date)s"
        " AND EXISTS (SELECT FROM drug_strength AS strength WHERE strength.drug_concept_id = drug_exposure.drug_concept_id"
        " AND strength.ingredient_concept_id = %(drug_concept_id)s AND strength.invalid_reason IS NULL"
        " AND coalesce(strength.amount_value, strength.numerator_value)::numeric = %(dose_value)s)"
        " ORDER BY drug_exposure_start_date, 1",
    ),
}
