"""The checks of single concepts: a person's gender, and the unit of a number.

Belongs here: their parts of a table's statement, over its grouped rows. Does not: the statement (counting.py).
"""

from collections.abc import Sequence

from psycopg import sql

from omop_inc.cdm.quality.facts import Check
from omop_inc.store.schemas import name

GENDER_TYPES = ("plausibleGender", "plausibleGenderUseDescendants")
GENDERS = {"male": 8507, "female": 8532}  # MALE, FEMALE


def gender_part(checks: Sequence[Check], vocabulary: str) -> sql.Composed:
    """Per check: rows of its concepts whose person has another gender, and all rows of its concepts.

    A row whose concept descends from two of a check's concepts counts twice, as in DataQualityDashboard.
    """
    field = sql.Identifier("row", str(checks[0].field))
    facts = [(n, concept, GENDERS[c.argument], c.type == GENDER_TYPES[1]) for n, c in enumerate(checks) for concept in c.concepts]
    numbers, ids, genders, with_descendants = (list(column) for column in zip(*facts, strict=True))
    return sql.SQL(
        'SELECT \'gender\', fact.number, NULL::uuid, coalesce(sum("row".rows) FILTER (WHERE "row".gender <> fact.gender), 0)::bigint,'
        ' sum("row".rows)::bigint FROM unnest({}::integer[], {}::integer[], {}::integer[], {}::boolean[])'
        " AS fact (number, concept_id, gender, with_descendants)"
        " CROSS JOIN LATERAL (SELECT fact.concept_id AS concept_id WHERE NOT fact.with_descendants UNION ALL"
        " SELECT ancestor.descendant_concept_id FROM {} AS ancestor WHERE fact.with_descendants"
        ' AND ancestor.ancestor_concept_id = fact.concept_id AND ancestor.descendant_concept_id IN (SELECT {} FROM grouped AS "row")) AS wanted'
        ' INNER JOIN grouped AS "row" ON {} = wanted.concept_id GROUP BY fact.number'
    ).format(*map(sql.Literal, (numbers, ids, genders, with_descendants)), name(vocabulary, "concept_ancestor"), field, field)


def unit_parts(checks: Sequence[Check]) -> list[sql.Composed]:
    """Per check: numbers of its concept in another unit than those that are plausible (-1: none), and all its numbers."""
    if not checks:
        return []
    facts = sql.SQL(", ").join(
        sql.SQL("({}, {}, {}::integer[])").format(*map(sql.Literal, (n, c.concepts[0], [int(u) for u in c.argument.split()])))
        for n, c in enumerate(checks)
    )
    return [
        sql.SQL(
            "SELECT 'unit', fact.number, NULL::uuid,"
            ' coalesce(sum("row".rows) FILTER (WHERE NOT coalesce(unit_concept_id, -1) = ANY (fact.units)), 0)::bigint,'
            ' sum("row".rows)::bigint FROM (VALUES {}) AS fact (number, concept_id, units)'
            ' INNER JOIN grouped AS "row" ON {} = fact.concept_id WHERE "value_as_number?" GROUP BY fact.number'
        ).format(facts, sql.Identifier("row", str(checks[0].field)))
    ]
