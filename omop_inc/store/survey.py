"""Look over a table of source rows in one pass: how many they are, which parents they lack, whom they name in vain, which texts are too long.

Belongs here: that pass, over a whole image or over what a delta brings. Does not: what becomes of rows (fates.py), lengths of
CDM columns (cdm/cut_texts.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from psycopg import sql

from omop_inc.source.tables import SOURCE_TABLES, Parent, SourceTable
from omop_inc.store.db import Connection, execute
from omop_inc.store.schemas import name


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What was seen of some rows of one source table."""

    rows: int
    lacking: tuple[Parent, ...]  # parents that some row lacks; none where they were not looked for
    unknown_references: dict[str, int]  # rows that name a row which is not there: counts above 0 by `<table>.<column>`
    long_texts: dict[str, int]  # rows with a text longer than its limit: likewise


def survey(
    connection: Connection,
    table: SourceTable,
    rows: sql.Identifier,
    named: str,
    limits: Mapping[str, int],
    *,
    is_whole: bool = False,
) -> Survey:
    """Look over some rows of a source table.

    The rows that name the same rows are counted together first: 20 claim lines lack or have one claim, one encounter and one provider.
    Where rows have an Id of their own, few name the same, and counting them together is work for nothing.

    Args:
        rows: The table that holds them.
        named: Schema of the rows that they name.
        limits: By staged column the most characters of a text.
        is_whole: Whether they are a whole image, whose parents are looked for too, and not a delta's few, of which that is decided already.
    """
    wanted = table.parents if is_whole else ()
    lacks = [sql.SQL("bool_or(image.{} IS NOT NULL AND {}.id IS NULL)").format(sql.Identifier(p.column), _alias(n)) for n, p in enumerate(wanted)]
    joins = [
        sql.SQL(" LEFT JOIN {} AS {} ON {}").format(name(named, p.table), _alias(n), is_parent(table, p, f"parent{n}", "image"))
        for n, p in enumerate(wanted)
    ]
    unknown = [
        sql.SQL("sum(image.rows) FILTER (WHERE {})").format(_is_unknown(named, one.column, one.tables, is_whole=is_whole)) for one in table.references
    ]
    long = [sql.SQL("sum(image.{})").format(sql.Identifier(f"long {column}")) for column in limits]
    listed = sql.SQL(", ").join([*lacks, sql.SQL("sum(image.rows)"), *unknown, *long])
    query = sql.SQL("SELECT {} FROM ({}) AS image{}").format(listed, _counted(table, rows, limits), sql.SQL("").join(joins))
    row = execute(connection, query).fetchone()
    assert row is not None
    seen: Iterator[int | None] = iter(row)  # NULL where there is no row
    return Survey(
        lacking=tuple(parent for parent in wanted if next(seen)),
        rows=int(next(seen) or 0),
        unknown_references={f"{table.name}.{one.column}": int(count) for one in table.references if (count := next(seen))},
        long_texts={f"{table.name}.{column}": int(count) for column in limits if (count := next(seen))},
    )


def is_parent(table: SourceTable, parent: Parent, parent_alias: str, child_alias: str) -> sql.Composed:
    """The condition under which a row is another's parent; joined on the person, so that it runs distributed too."""
    above = SOURCE_TABLES[parent.table]
    assert table.patient is not None and above.patient is not None
    pairs = {(above.patient, table.patient), ("id", parent.column)}
    return sql.SQL(" AND ").join(sql.SQL("{} = {}").format(sql.Identifier(parent_alias, a), sql.Identifier(child_alias, c)) for a, c in sorted(pairs))


def _alias(number: int) -> sql.Identifier:
    return sql.Identifier(f"parent{number}")


def _is_unknown(dimensions: str, column: str, tables: tuple[str, ...], *, is_whole: bool) -> sql.Composed:
    """Whether a row names a row that is in none of some tables.

    Of whole images these are hashed once, which the planner does for NOT IN alone; a delta looks its few rows up, so that it costs the same
    beside ten times as many providers.
    """
    named = sql.Identifier("image", column)
    absent = "{0} NOT IN (SELECT id FROM {1} WHERE id IS NOT NULL)" if is_whole else "NOT EXISTS (SELECT FROM {1} AS known WHERE known.id = {0})"
    parts = [sql.SQL(absent).format(named, name(dimensions, table)) for table in tables]
    return sql.SQL(" AND ").join([sql.SQL("{} IS NOT NULL").format(named), *parts])


def _counted(table: SourceTable, rows: sql.Identifier, limits: Mapping[str, int]) -> sql.Composed:
    """The rows with what they name: counted together where many name the same."""
    named = {*filter(None, [table.patient]), *(p.column for p in table.parents), *(r.column for r in table.references)}
    names = [sql.Identifier(column) for column in sorted(named)]
    # Bytes are counted first: reading characters costs more, and nearly every text is short in bytes already.
    is_long = sql.SQL("octet_length({0}) > {1} AND length({0}) > {1}")
    longs = [(sql.Identifier(f"long {column}"), is_long.format(sql.Identifier(column), sql.Literal(limit))) for column, limit in limits.items()]
    if not names or table.repeated_id == "quarantine":
        found = [sql.SQL("CASE WHEN {} THEN 1 END AS {}").format(where, alias) for alias, where in longs]
        return sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join([*names, sql.SQL("1 AS rows"), *found]), rows)
    found = [sql.SQL("count(*) FILTER (WHERE {}) AS {}").format(where, alias) for alias, where in longs]
    listed = sql.SQL(", ").join([*names, sql.SQL("count(*) AS rows"), *found])
    return sql.SQL("SELECT {} FROM {} GROUP BY {}").format(listed, rows, sql.SQL(", ").join(names))
