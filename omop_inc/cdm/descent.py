"""From a loaded source row on to the CDM rows that come from it.

Belongs here: the queries that follow ids, content keys and spans, for one row at a time. Does not: the way back (lineage.py).
"""

from collections.abc import Iterable
from typing import Any

from psycopg import sql

from omop_inc.cdm.lineage import CODED, NAMED_AFTER, THROUGH, TRANSITION_DAY, Link, Row, content_keys, links, place_query, reaction_keys, read_cdm_row
from omop_inc.cdm.outcomes import EVENT_TABLES, FATES
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.store.db import Connection, fetch_value

# Source tables whose rows give their row_id to CDM rows.
GIVE_THEIR_ID = frozenset({"patients", "organizations", "providers", "imaging_studies"}) | {
    table for table, fates in FATES.items() if fates.is_generic
}


def targets_of(connection: Connection, table: str, row: Row) -> list[Link]:
    """The CDM rows that come from a loaded source row, those of its own id first."""
    row_id, fates = row["row_id"], FATES[table]
    own = [*fates.tables, *fates.also] if table in GIVE_THEIR_ID else []
    own += [target for target, sources in NAMED_AFTER.items() if table in sources]
    found = [Link(table=target, row_id=row_id) for target in own if read_cdm_row(connection, target, row_id) is not None]
    owner = SOURCE_TABLES[table].patient
    person = fetch_value(connection, "SELECT row_id FROM patients WHERE id = %s", (row[owner],)) if owner else None
    if table in CODED:
        found += _further_targets(connection, table, row, person)
    found += [link for query, parameters, how in _ahead(table, row, person) for link in links(connection, query, parameters, how)]
    found += [link for event in found if event.table in EVENT_TABLES for link in _eras(connection, event)]
    return list(dict.fromkeys(found))


def _further_targets(connection: Connection, table: str, row: Row, person: Any) -> list[Link]:
    row_id = sql.Literal(row["row_id"])
    parts = []
    for target in EVENT_TABLES:
        keys = content_keys(target, row_id, "target")
        if table == "allergies" and target == "observation":
            keys = sql.SQL("{}, {}").format(keys, reaction_keys(row_id))
        parts.append(
            sql.SQL(
                "SELECT {label}, target.{key} FROM {target} AS target INNER JOIN content_id AS content"
                " ON content.id = target.{key} AND content.id_key IN ({keys}) WHERE target.person_id = {person}"
            ).format(
                label=sql.Literal(target), key=sql.Identifier(f"{target}_id"), target=sql.Identifier(target), keys=keys, person=sql.Literal(person)
            )
        )
    how = "a further target of its code, or a reaction"
    return links(connection, sql.SQL(" UNION ALL ").join(parts), None, how)


def _ahead(table: str, row: Row, person: Any) -> Iterable[tuple[Any, Any, str]]:
    """Queries for the CDM rows that a source row is part of."""
    if table == "encounters":
        query = (
            "SELECT 'visit_occurrence', visit_occurrence_id FROM visit_detail"
            " WHERE visit_detail_id = %(row_id)s AND visit_occurrence_id <> %(row_id)s"
        )
        yield query, row, "the visit that it belongs to"
    if table in ("organizations", "providers"):
        target = {"organizations": "care_site", "providers": "provider"}[table]
        text = "SELECT {0}, min(row_id) FROM {1} WHERE id = %(id)s HAVING min(row_id) <> %(row_id)s"
        yield sql.SQL(text).format(sql.Literal(target), sql.Identifier(table)), row, "the row of its Id"
    if table in ("patients", "organizations", "providers"):
        places = place_query("place.row_id = %(row_id)s", "place.id_key")
        yield sql.SQL("SELECT 'location', content_id.id FROM content_id WHERE content_id.id_key IN ({})").format(places), row, "its address"
    if table == "payer_transitions":
        text = (
            "SELECT 'payer_plan_period', period.payer_plan_period_id FROM payer_transitions AS own"
            " INNER JOIN patients ON patients.id = own.patient INNER JOIN payer_plan_period AS period ON period.person_id = patients.row_id"
            " INNER JOIN content_id ON content_id.id = period.payer_plan_period_id"
            " WHERE own.row_id = %(row_id)s AND own.patient = %(patient)s"
            " AND {} BETWEEN payer_plan_period_start_date AND payer_plan_period_end_date"
            " AND content_id.id_key = content_key('payer_plan_period', patients.row_id::text, own.payer::text, own.plan_ownership,"
            " period.payer_plan_period_start_date::text)"
        )
        yield sql.SQL(text).format(TRANSITION_DAY), row, "the period that it is merged into"
    if table == "claims_transactions":
        yield _COST_OF_TRANSACTION, row, "the cost that its amount counts in"


# The drug or procedure of the same encounter, code and start; else the encounter.
_COST_OF_TRANSACTION = """
    WITH encounter AS (
        SELECT coalesce(
            %(appointmentid)s::uuid, (SELECT appointmentid FROM claims WHERE id = %(claimid)s AND patientid = %(patientid)s)
        ) AS id
    ), priced AS (
        SELECT row_id, patient, encounter, code, start AS start_at FROM medications
        UNION ALL SELECT row_id, patient, encounter, code, date FROM immunizations
        UNION ALL SELECT row_id, patient, encounter, code, start FROM procedures
    ), met AS (
        SELECT priced.row_id FROM priced INNER JOIN encounter ON priced.encounter = encounter.id
        WHERE priced.patient = %(patientid)s AND priced.code = %(procedurecode)s AND priced.start_at = %(fromdate)s
        AND %(appointmentid)s::uuid IS NOT NULL
    )
    SELECT 'cost', cost_id FROM cost WHERE %(type)s <> 'TRANSFEROUT' AND cost_id IN (
        SELECT row_id FROM met
        UNION SELECT encounters.row_id FROM encounters INNER JOIN encounter ON encounters.id = encounter.id
        WHERE encounters.patient = %(patientid)s AND NOT EXISTS (SELECT FROM met)
    ) ORDER BY cost_id
"""


def _eras(connection: Connection, event: Link) -> list[Link]:
    """The eras that an event row lies in."""
    found = []
    for era, (through, _query) in THROUGH.items():
        if through == event.table:
            found += links(connection, _ERA_OF[era], (event.row_id,), f"the span that {through} {event.row_id} lies in")
    return found


_ERA_OF = {
    "condition_era": "SELECT 'condition_era', era.condition_era_id FROM condition_occurrence AS event INNER JOIN condition_era AS era"
    " ON era.person_id = event.person_id AND era.condition_concept_id = event.condition_concept_id"
    " AND event.condition_start_date BETWEEN era.condition_era_start_date AND era.condition_era_end_date WHERE event.condition_occurrence_id = %s",
    "drug_era": "SELECT 'drug_era', era.drug_era_id FROM drug_exposure AS event INNER JOIN drug_era AS era ON era.person_id = event.person_id"
    " AND event.drug_exposure_start_date BETWEEN era.drug_era_start_date AND era.drug_era_end_date INNER JOIN concept_ancestor AS above"
    " ON above.ancestor_concept_id = era.drug_concept_id AND above.descendant_concept_id = event.drug_concept_id WHERE event.drug_exposure_id = %s",
    "dose_era": "SELECT DISTINCT 'dose_era', era.dose_era_id FROM drug_exposure AS event INNER JOIN dose_era AS era"
    " ON era.person_id = event.person_id AND event.drug_exposure_start_date BETWEEN era.dose_era_start_date AND era.dose_era_end_date"
    " INNER JOIN drug_strength AS strength"
    " ON strength.drug_concept_id = event.drug_concept_id AND strength.ingredient_concept_id = era.drug_concept_id"
    " AND strength.invalid_reason IS NULL AND coalesce(strength.amount_value, strength.numerator_value)::numeric = era.dose_value"
    " WHERE event.drug_exposure_id = %s",
}
