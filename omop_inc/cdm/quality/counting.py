"""Count all checks of one table in one statement that reads its rows once.

Belongs here: that statement and the reading of its answer. Does not: what a check asks (conditions.py), which rows (rows.py).

Most checks look at columns of few values: concepts, units, codes. So the rows are grouped by these first, with counts of what needs the
other columns, and some thousand groups are then looked at instead of millions of rows; only they are joined with the vocabulary. What
is looked up in other tables (person, death, visit) and the dates that are compared with it repeat as well: a visit's rows share them. So
the rows are grouped by these too, and the groups are looked up (11 measurements a group in a real export).
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from omop_inc.cdm.quality import concepts
from omop_inc.cdm.quality.conditions import PERSON, Condition, concept_alias
from omop_inc.cdm.quality.facts import Check
from omop_inc.cdm.quality.plan import GENDER, Plan
from omop_inc.cdm.quality.rows import World, extended
from omop_inc.store.db import Connection, execute
from omop_inc.store.schemas import name

# Grouped rows say how many; a single row counts as its sign.
_ROWS = sql.SQL('sum("row".rows)')
NUMBER_KNOWN = "value_as_number?"


@dataclass(frozen=True, kw_only=True)
class Count:
    """How many rows violate a check, and of how many."""

    violated: int = 0
    denominator: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(violated=self.violated + other.violated, denominator=self.denominator + other.denominator)


ValueRows = Mapping[uuid.UUID, tuple[int, int]]  # by hashed source value: rows, and rows without a concept


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What was counted of some checks; of an increment's rows these are differences."""

    counts: Mapping[str, Count] = field(default_factory=dict)
    values: Mapping[str, ValueRows] = field(default_factory=dict)  # of the checks of distinct source values


@dataclass(frozen=True, kw_only=True)
class Side:
    """Rows that are counted, and the world in which they are looked up."""

    world: World
    rows: sql.Composable  # a query in brackets, or a table's name
    sign: int = 1
    staying: sql.Composable | None = None  # rows, the same on every side, that are as they were although what they are looked up in is not


def count(connection: Connection, plan: Plan, sides: Sequence[Side], *, constraints: bool) -> Counted:
    """Count a table's checks over some rows.

    Args:
        sides: Whose rows; those with sign -1 are taken away.
        constraints: Whether the rows are in a table whose constraints hold, so that what they rule out is not counted.
    """
    if not plan.checks:
        return Counted()
    statement = _Statement(plan, sides, constraints=constraints)
    return statement.read(connection)


def count_nothing(plan: Plan) -> Counted:
    """The counts of a table without rows, which need no statement."""
    values: dict[str, ValueRows] = {check.id: {} for check in plan.of_type("sourceValueCompleteness")}
    return Counted(counts={check.id: Count() for check in plan.checks if check.id not in values}, values=values)


class _Statement:
    """The statement, and which number of its answer belongs to which check."""

    def __init__(self, plan: Plan, sides: Sequence[Side], *, constraints: bool) -> None:
        self._plan, self._sides, self._constraints = plan, sides, constraints
        self._vocabulary = sides[0].world.schemas.vocabulary
        self._numbers: dict[str, int] = {}  # position of each condition's count, from 1; 0 is all rows
        self._grouped: list[tuple[int, Condition]] = []
        self._related: list[tuple[int, Condition]] = []
        self._of_rows: list[tuple[int, Condition]] = []

    def read(self, connection: Connection) -> Counted:
        positions = {check.id: self._positions(check) for check in self._plan.checks if check.id in self._plan.questions}
        numbers: dict[int, int] = {}
        genders: dict[int, Count] = {}
        units: dict[int, Count] = {}
        values: dict[int, dict[uuid.UUID, tuple[int, int]]] = {}
        for kind, number, key, one, other in execute(connection, self._text()):
            if kind == "count":
                numbers[number] = int(one)
            elif kind == "value":
                values.setdefault(number, {})[key] = (int(one), int(other))
            else:
                (genders if kind == "gender" else units)[number] = Count(violated=int(one), denominator=int(other))
        counts = {check: Count(violated=numbers.get(a, 0), denominator=numbers[b]) for check, (a, b) in positions.items()}
        for found, types in ((genders, concepts.GENDER_TYPES), (units, ("plausibleUnitConceptIds",))):
            counts |= {check.id: found.get(number, Count()) for number, check in enumerate(self._plan.of_type(*types))}
        distinct = self._plan.of_type("sourceValueCompleteness")
        counts |= self._keys(connection, numbers[0])
        return Counted(counts=counts, values={check.id: values.get(number, {}) for number, check in enumerate(distinct)})

    def _positions(self, check: Check) -> tuple[int, int]:
        asked = self._plan.questions[check.id]
        violated = -1 if self._is_ruled_out(check) else self._position(asked.violated)
        return violated, 0 if asked.among is None else self._position(asked.among)

    def _is_ruled_out(self, check: Check) -> bool:
        catalogue = self._sides[0].world.catalogue
        if check.type == "cdmDatatype":
            return catalogue.is_whole(check.table, str(check.field))
        is_null_check = check.type in ("isRequired", "measureValueCompleteness")
        return self._constraints and is_null_check and catalogue.is_required(check.table, str(check.field))

    def _position(self, condition: Condition) -> int:
        if condition.key not in self._numbers:
            number = self._numbers[condition.key] = len(self._numbers) + 1
            is_grouped = bool(condition.concepts) or (not condition.lookups and condition.columns <= set(self._plan.keys))
            is_related = bool(condition.lookups) or condition.columns <= set(self._plan.related)
            (self._grouped if is_grouped and self._plan.keys else self._related if is_related else self._of_rows).append((number, condition))
        return self._numbers[condition.key]

    def _text(self) -> sql.Composed:
        plan = self._plan
        keys = [sql.SQL("{0} AS {0}").format(sql.Identifier(k)) for k in plan.keys]
        if plan.has_number:
            keys.append(sql.SQL("value_as_number IS NOT NULL AS {}").format(sql.Identifier(NUMBER_KNOWN)))
        if plan.has_gender:
            keys.append(sql.SQL("{} AS gender").format(sql.Identifier("row", f"{PERSON.name}.gender_concept_id")))
        counts = [sql.SQL("{} AS rows").format(self._rows_where(None))]
        counts += [sql.SQL("{} AS {}").format(self._rows_where(c.text), sql.Identifier(f"c{n}")) for n, c in self._of_rows]
        by_keys = sql.SQL(" GROUP BY {}").format(sql.SQL(", ").join(sql.SQL(str(n + 1)) for n in range(len(keys)))) if keys else sql.SQL("")
        parts = [self._total_part(), *self._related_parts()]
        parts += [concepts.gender_part(plan.of_type(*concepts.GENDER_TYPES), self._vocabulary)] if plan.has_gender else []
        parts += concepts.unit_parts(plan.of_type("plausibleUnitConceptIds"))
        parts += [_value_part(n, check) for n, check in enumerate(plan.of_type("sourceValueCompleteness"))]
        rows = [extended(s.world, s.rows, plan.columns, (GENDER,) if plan.has_gender else (), s.sign) for s in self._sides]
        staying = self._sides[0].staying
        first = sql.SQL("staying AS MATERIALIZED ({}), ").format(staying) if staying is not None else sql.SQL("")
        return sql.SQL("WITH {}grouped AS MATERIALIZED (SELECT {} FROM ({}) AS {}{}){}{}").format(
            first,
            sql.SQL(", ").join([*keys, *counts]),
            sql.SQL(" UNION ALL ").join(rows),
            sql.Identifier("row"),
            by_keys,
            self._concept_table(),
            sql.SQL(" UNION ALL ").join(parts),
        )

    def _related_parts(self) -> list[sql.Composed]:
        """One row per count of what is looked up in other tables: the rows are grouped by what they are looked up with."""
        if not self._related:
            return []
        plan, sides = self._plan, []
        listed = sql.SQL(", ").join(map(sql.Identifier, plan.related))
        for side in self._sides:
            source = side.rows
            if side.staying is not None:
                source = sql.SQL("(SELECT {0} FROM {1} AS moving UNION ALL SELECT {0} FROM staying)").format(listed, side.rows)
            groups = sql.SQL('(SELECT {0}, count(*) AS rows FROM {1} AS "row" GROUP BY {0})').format(listed, source)
            sides.append(extended(side.world, groups, (*plan.related, "rows"), plan.lookups, side.sign))
        wanted = [sql.SQL('coalesce(sum("row".sign * "row".rows) FILTER (WHERE {}), 0)::bigint').format(c.text) for _, c in self._related]
        return [
            sql.SQL(
                "SELECT 'count', total.number, NULL::uuid, total.value, NULL::bigint FROM (SELECT ARRAY[{}] AS counts FROM ({}) AS {}) AS summed"
                " CROSS JOIN LATERAL unnest({}::integer[], counts) AS total (number, value)"
            ).format(
                sql.SQL(", ").join(wanted),
                sql.SQL(" UNION ALL ").join(sides),
                sql.Identifier("row"),
                sql.Literal([n for n, _ in self._related]),
            )
        ]

    def _rows_where(self, condition: sql.Composable | None) -> sql.Composed:
        is_whole = len(self._sides) == 1
        base = sql.SQL("count(*)" if is_whole else "coalesce(sum(sign){}, 0)")
        where = sql.SQL(" FILTER (WHERE {})").format(condition) if condition is not None else sql.SQL("")
        return base + where if is_whole else base.format(where)

    def _concept_fields(self) -> list[str]:
        return sorted({c for _, condition in self._grouped for c in condition.concepts})

    def _concept_table(self) -> sql.Composed:
        """The concepts that the groups name: fetched by their ids, however many the vocabulary has."""
        fields = self._concept_fields()
        if not fields:
            return sql.SQL(" ").format()
        ids = sql.SQL(" UNION ").join(sql.SQL("SELECT {} FROM grouped").format(sql.Identifier(f)) for f in fields)
        return sql.SQL(
            ", concept AS MATERIALIZED (SELECT concept_id, domain_id, concept_class_id, standard_concept, invalid_reason FROM {}"
            " WHERE concept_id = ANY (ARRAY({}))) "
        ).format(name(self._vocabulary, "concept"), ids)

    def _total_part(self) -> sql.Composed:
        """One row per count of the whole table."""
        wanted = [sql.SQL("coalesce({}, 0)::bigint").format(_ROWS)]
        wanted += [sql.SQL("coalesce({} FILTER (WHERE {}), 0)::bigint").format(_ROWS, c.text) for _, c in self._grouped]
        wanted += [sql.SQL("coalesce(sum({}), 0)::bigint").format(sql.Identifier("row", f"c{n}")) for n, _ in self._of_rows]
        numbers = [0, *(n for n, _ in self._grouped), *(n for n, _ in self._of_rows)]
        joins = [
            sql.SQL(" LEFT JOIN concept AS {0} ON {0}.concept_id = {1}").format(sql.Identifier(concept_alias(f)), sql.Identifier("row", f))
            for f in self._concept_fields()
        ]
        return sql.SQL(
            "SELECT 'count' AS kind, total.number, NULL::uuid AS key, total.value AS one, NULL::bigint AS other"
            ' FROM (SELECT ARRAY[{}] AS counts FROM grouped AS "row"{}) AS summed'
            " CROSS JOIN LATERAL unnest({}::integer[], counts) AS total (number, value)"
        ).format(sql.SQL(", ").join(wanted), sql.SQL("").join(joins), sql.Literal(numbers))

    def _keys(self, connection: Connection, rows: int) -> dict[str, Count]:
        """Rows that share their key; nothing is counted where a unique index lets none do so."""
        checks = self._plan.of_type("isPrimaryKey")
        found = {check.id: Count(denominator=rows) for check in checks}
        shared = sql.SQL(
            "SELECT {}, {} * sum(shared) FROM"
            ' (SELECT count(*) AS shared FROM {} AS "row" GROUP BY {} HAVING count(*) > 1) AS shared HAVING sum(shared) > 0'
        )
        parts = [
            shared.format(sql.Literal(check.id), sql.Literal(side.sign), side.rows, sql.Identifier(str(check.field)))
            for check in checks
            for side in self._sides
            if not (self._constraints and side.world.catalogue.is_unique(check.table, str(check.field)))
        ]
        for check_id, violated in execute(connection, sql.SQL(" UNION ALL ").join(parts)) if parts else ():
            found[check_id] += Count(violated=int(violated))
        return found


def _value_part(number: int, check: Check) -> sql.Composed:
    """Per distinct source value, hashed so that no value is kept: its rows, and those without a concept."""
    return sql.SQL(
        "SELECT 'value', {number}, md5(coalesce('=' || {field}, '-'))::uuid,"
        ' {rows}::bigint, coalesce({rows} FILTER (WHERE {concept} = 0), 0)::bigint FROM grouped AS "row" GROUP BY {field}'
    ).format(number=sql.Literal(number), field=sql.Identifier(str(check.field)), rows=_ROWS, concept=sql.Identifier(check.argument))
