"""Prove that the CDM equals a rebuild: build the snapshot beside, compare every table row by row and id by id.

Belongs here: the comparison's order, what differs and examples of it. Does not: building (full.py). Nothing is published.
"""

from dataclasses import dataclass, field

from psycopg import sql

from omop_inc.cdm.publish import Written
from omop_inc.cdm.spec import CdmTable, cdm_tables, identity
from omop_inc.runs.context import Run
from omop_inc.runs.detect import Seen
from omop_inc.runs.full import build_beside
from omop_inc.runs.publishing import Outcome
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.store.db import Connection, execute, fetch_value
from omop_inc.store.schemas import columns, name, row_of
from omop_inc.store.staging import FATE_COLUMNS, all_columns

# Example keys that a report shows; they are ids of ours, never values.
EXAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A table in which the rebuild and the committed rows differ."""

    table: str
    only_committed: int
    only_rebuilt: int
    examples: list[str] = field(default_factory=list)  # keys and what is wrong with them, such as person_id=17: year_of_birth


def verify(run: Run, seen: dict[str, Seen], outcome: Outcome) -> list[Difference]:
    """Rebuild beside and compare CDM, staging image, quarantine and the stored row accounts, ids included.

    Raises:
        CheckFailed: If the folder is not the snapshot that the CDM holds, so that a comparison would say nothing.
    """
    assert run.last is not None
    expected = run.last.snapshot_digest if run.settings.mode == "snapshot" else None
    built = build_beside(run, seen, outcome, to_publish=False, expected=expected)
    found = [_compare_cdm(run, table, written) for table, written in built.written.items()]
    found += [_compare_source(run, table, is_held=is_held) for is_held in (False, True) for table in SOURCE_TABLES]
    return [difference for difference in [*found, *_compare_outcomes(run)] if difference]


def describe(differences: list[Difference]) -> str:
    """What differs, in one line: tables, counts, example keys with the names of the columns that differ."""
    listed = []
    for one in differences:
        examples = f" ({', '.join(one.examples)})" if one.examples else ""
        listed.append(f"{one.table}: {one.only_committed} rows only in the CDM, {one.only_rebuilt} only in the rebuild{examples}")
    return "; ".join(listed)


def _compare_cdm(run: Run, table: str, written: Written) -> Difference | None:
    facts = cdm_tables()[table]
    if not facts.primary_key:  # nothing keeps a row from being there twice, which a comparison by key does not see
        with run.recorder.step("compare", table), run.database.connection() as connection:
            counts = _count_both_ways(connection, facts.columns, name(run.schemas.cdm, table), name(run.schemas.next_cdm, table))
        written = Written(deleted=counts[0], inserted=counts[1])
    if not (written.inserted or written.deleted):
        return None
    return Difference(table=table, only_committed=written.deleted, only_rebuilt=written.inserted, examples=_examples(run, facts))


def _examples(run: Run, table: CdmTable) -> list[str]:
    if table.name == "cdm_source":
        return []
    committed, rebuilt = name(run.schemas.cdm, table.name), name(run.schemas.next_cdm, table.name)
    with run.database.connection() as connection:
        found = _changed_examples(connection, run, table)
        return found or _plain_examples(connection, identity(table)[0], table.columns, committed, rebuilt)


def _changed_examples(connection: Connection, run: Run, table: CdmTable) -> list[str]:
    """The first keys that differ: rows lost, rows too many, and of changed rows the columns."""
    keys = identity(table)
    same = sql.SQL(" AND ").join(sql.SQL("gone.{0} = added.{0}").format(sql.Identifier(key)) for key in keys)
    differing = sql.SQL(", ").join(
        sql.SQL("CASE WHEN {} THEN {} END").format(
            sql.SQL("record_image_ne({}, {})").format(row_of([column], "gone"), row_of([column], "added")), sql.Literal(column)
        )
        for column in table.columns
        if column not in keys
    )
    query = sql.SQL(
        "SELECT coalesce(gone.{key}, added.{key}), CASE WHEN added.{key} IS NULL THEN 'not in the rebuild' WHEN gone.{key} IS NULL"
        " THEN 'not in the CDM' ELSE concat_ws(' ', {differing}) END"
        " FROM {gone} AS gone FULL JOIN {added} AS added ON {same} ORDER BY 1, 2 LIMIT {limit}"
    ).format(
        key=sql.Identifier(keys[0]),
        differing=differing if len(keys) < len(table.columns) else sql.SQL("NULL"),
        gone=name(run.schemas.run, f"gone_{table.name}"),
        added=name(run.schemas.run, f"added_{table.name}"),
        same=same,
        limit=sql.Literal(EXAMPLES),
    )
    return [f"{keys[0]}={key}: {what}" for key, what in execute(connection, query)]


def _compare_source(run: Run, table: str, *, is_held: bool) -> Difference | None:
    """The staged rows of a source table, or those that are held, fate and rule included."""
    schemas, listed = run.schemas, all_columns(SOURCE_TABLES[table])
    committed, rebuilt = name(schemas.staging, table), name(schemas.next_staging, table)
    if is_held:
        listed, committed, rebuilt = (*listed, *FATE_COLUMNS), name(schemas.quarantine, table), name(schemas.run, table + "_held")
    with run.recorder.step("compare", table), run.database.connection() as connection:
        counts = _count_both_ways(connection, listed, committed, rebuilt)
        if not any(counts):
            return None
        examples = _plain_examples(connection, "row_id", listed, committed, rebuilt)
    kind = "quarantine" if is_held else "staging"
    return Difference(table=f"{kind}.{table}", only_committed=counts[0], only_rebuilt=counts[1], examples=examples)


def _count_both_ways(connection: Connection, listed: tuple[str, ...], one: sql.Identifier, other: sql.Identifier) -> tuple[int, int]:
    """Rows of each of two tables that the other lacks, as multisets."""
    query = sql.SQL("SELECT count(*) FROM (SELECT {0} FROM {1} EXCEPT ALL SELECT {0} FROM {2}) AS differing")
    names = columns(listed)
    return (int(fetch_value(connection, query.format(names, one, other))), int(fetch_value(connection, query.format(names, other, one))))


def _plain_examples(connection: Connection, key: str, listed: tuple[str, ...], one: sql.Identifier, other: sql.Identifier) -> list[str]:
    """The first keys of the rows that one of two tables has more often."""
    query = sql.SQL(
        "SELECT DISTINCT {4} FROM ((SELECT {0} FROM {1} EXCEPT ALL SELECT {0} FROM {2})"
        " UNION ALL (SELECT {0} FROM {2} EXCEPT ALL SELECT {0} FROM {1})) AS differing ORDER BY 1 LIMIT {3}"
    ).format(columns(listed), one, other, sql.Literal(EXAMPLES), sql.Identifier(key))
    return [f"{key}={row[0]}" for row in execute(connection, query)]


def _compare_outcomes(run: Run) -> list[Difference]:
    """The stored accounts of what became of the loaded rows, which increments moved, against those counted anew."""
    assert run.last is not None
    stored = run.last.summary.get("outcomes") or run.summary.outcomes
    found = []
    for table, counted in run.summary.outcomes.items():
        kept = stored.get(table, {})
        names = sorted(outcome for outcome in kept.keys() | counted.keys() if kept.get(outcome, 0) != counted.get(outcome, 0))
        if names:
            more = [sum(max(0, a.get(n, 0) - b.get(n, 0)) for n in names) for a, b in ((kept, counted), (counted, kept))]
            found.append(Difference(table=f"outcomes.{table}", only_committed=more[0], only_rebuilt=more[1], examples=names[:EXAMPLES]))
    return found
