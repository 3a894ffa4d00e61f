"""Ids of rows that violate a check, for those who must look at them.

Belongs here: the query of a few ids. Does not: any value of a row.
"""

from collections.abc import Sequence
from datetime import date

from psycopg import sql

from omop_inc.cdm.quality.concepts import GENDER_TYPES, GENDERS
from omop_inc.cdm.quality.conditions import Condition, Lookup, concept_alias, is_of_rows, question
from omop_inc.cdm.quality.counting import Side
from omop_inc.cdm.quality.facts import Check
from omop_inc.cdm.quality.rows import extended
from omop_inc.cdm.quality.violations import SAMPLES
from omop_inc.cdm.spec import cdm_tables
from omop_inc.store.db import Connection, execute
from omop_inc.store.schemas import columns, name

_PERSON = Lookup(field="person_id", table="person", key="person_id", columns=("gender_concept_id",))


def id_column(table: str) -> str | None:
    """The column whose value is shown of a violating row."""
    facts = cdm_tables()[table]
    if facts.primary_key:
        return facts.primary_key[0] if facts.field(facts.primary_key[0]).type in ("bigint", "integer") else None
    return {"death": "person_id", "fact_relationship": "fact_id_1", "episode_event": "event_id", "cohort": "subject_id"}.get(table)


def sample(connection: Connection, check: Check, side: Side, today: date) -> tuple[int, ...]:
    """A few ids of rows that violate a check, the smallest first."""
    key, condition = id_column(check.table), _condition(check, side, today)
    if key is None or condition is None or not side.world.catalogue.has(check.table, key):
        return ()
    joins = [
        sql.SQL(" LEFT JOIN {} AS {} ON {}.concept_id = {}").format(
            name(side.world.schemas.vocabulary, "concept"),
            sql.Identifier(concept_alias(field)),
            sql.Identifier(concept_alias(field)),
            sql.Identifier("row", field),
        )
        for field in sorted(condition.concepts)
    ]
    names, source = sorted({key, *condition.columns}), side.rows
    if side.staying is not None and condition.lookups:
        source = sql.SQL("(SELECT {0} FROM {1} AS moving UNION ALL SELECT {0} FROM ({2}) AS staying)").format(columns(names), side.rows, side.staying)
    query = sql.SQL('SELECT {} FROM ({}) AS "row"{} WHERE {} ORDER BY 1 LIMIT {}').format(
        sql.Identifier("row", key),
        extended(side.world, source, names, condition.lookups, 1),
        sql.SQL("").join(joins),
        condition.text,
        sql.Literal(SAMPLES),
    )
    return tuple(int(row[0]) for row in execute(connection, query) if row[0] is not None)


def _condition(check: Check, side: Side, today: date) -> Condition | None:
    if is_of_rows(check):
        return question(check, today).violated
    own = sql.Identifier("row", str(check.field))
    if check.type == "sourceValueCompleteness":
        text = sql.SQL("{} = 0").format(sql.Identifier("row", check.argument))
        return Condition(text=text, columns=frozenset({check.argument}))
    if check.type == "plausibleUnitConceptIds":
        text = sql.SQL('{} = {} AND NOT coalesce("row".unit_concept_id, -1) = ANY ({}::integer[]) AND "row".value_as_number IS NOT NULL').format(
            own, sql.Literal(check.concepts[0]), sql.Literal([int(unit) for unit in check.argument.split()])
        )
        return Condition(text=text, columns=frozenset({str(check.field), "unit_concept_id", "value_as_number"}))
    if check.type in GENDER_TYPES:
        return _gender_condition(check, own, side)
    if check.type == "isPrimaryKey":
        shared = sql.SQL("{0} IN (SELECT {1} FROM {2} AS twin GROUP BY {1} HAVING count(*) > 1)")
        return Condition(text=shared.format(own, sql.Identifier(str(check.field)), side.rows), columns=frozenset({str(check.field)}))
    return None


def _gender_condition(check: Check, own: sql.Identifier, side: Side) -> Condition:
    wanted = _concepts(check.concepts, side, with_descendants=check.type == GENDER_TYPES[1])
    gender = sql.Identifier("row", f"{_PERSON.name}.gender_concept_id")
    text = sql.SQL("{} = ANY (ARRAY({})) AND {} <> {}").format(own, wanted, gender, sql.Literal(GENDERS[check.argument]))
    return Condition(text=text, columns=frozenset({str(check.field), "person_id"}), lookups=frozenset({_PERSON}))


def _concepts(ids: Sequence[int], side: Side, *, with_descendants: bool) -> sql.Composed:
    if not with_descendants:
        return sql.SQL("SELECT unnest({}::integer[])").format(sql.Literal(list(ids)))
    ancestor = name(side.world.schemas.vocabulary, "concept_ancestor")
    return sql.SQL("SELECT descendant_concept_id FROM {} WHERE ancestor_concept_id = ANY ({}::integer[])").format(ancestor, sql.Literal(list(ids)))
