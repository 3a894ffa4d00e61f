"""Prove that the CDM equals a rebuild: build the snapshot beside, compare every table row by row and id by id.

Belongs here: the comparison's order and its report. Does not: building (full.py). Nothing is published.
"""

from dataclasses import dataclass, field

from psycopg import sql

from omop_inc.cdm.results import identity
from omop_inc.cdm.spec import cdm_tables
from omop_inc.errors import CheckFailed
from omop_inc.runs.context import Run
from omop_inc.runs.detect import Seen
from omop_inc.runs.full import build_beside
from omop_inc.runs.publishing import Outcome
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.store.db import execute, fetch_value
from omop_inc.store.schemas import name
from omop_inc.store.staging import all_columns

# Example keys that a report shows; they are ids of ours, never values.
EXAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A table in which the rebuild and the committed rows differ."""

    table: str
    only_committed: int
    only_rebuilt: int
    examples: list[str] = field(default_factory=list)  # keys, such as person_id=17


def verify(run: Run, seen: dict[str, Seen], outcome: Outcome) -> list[Difference]:
    """Rebuild beside and compare staging image and CDM, ids included.

    Raises:
        CheckFailed: If the folder is not the snapshot that the CDM holds, so that a comparison would say nothing.
    """
    assert run.last is not None
    built = build_beside(run, seen, outcome, guarded=False)
    if run.settings.mode == "snapshot" and outcome.snapshot_digest != run.last.snapshot_digest:
        raise CheckFailed(
            f"The folder's snapshot is {outcome.snapshot_digest}, the CDM holds {run.last.snapshot_digest}."
            " Verify with the folder that was applied last."
        )
    differences = [
        Difference(table=table, only_committed=w.deleted, only_rebuilt=w.inserted, examples=_examples(run, table))
        for table, w in built.written.items()
        if w.inserted or w.deleted
    ]
    return differences + [d for table in SOURCE_TABLES if (d := _compare_image(run, table))]


def _examples(run: Run, table: str) -> list[str]:
    keys = identity(cdm_tables()[table])
    query = sql.SQL("SELECT {0} FROM {1} UNION SELECT {0} FROM {2} ORDER BY 1 LIMIT {3}").format(
        sql.SQL(", ").join(map(sql.Identifier, keys[:1])),
        name(run.schemas.run, f"gone_{table}"),
        name(run.schemas.run, f"added_{table}"),
        sql.Literal(EXAMPLES),
    )
    with run.database.connection() as connection:
        return [f"{keys[0]}={row[0]}" for row in execute(connection, query)] if table != "cdm_source" else []


def _compare_image(run: Run, table: str) -> Difference | None:
    names = sql.SQL(", ").join(map(sql.Identifier, all_columns(SOURCE_TABLES[table])))
    one, other = name(run.schemas.staging, table), name(run.schemas.next_staging, table)
    counts = []
    with run.recorder.step("compare", table), run.database.connection() as connection:
        for mine, theirs in ((one, other), (other, one)):
            query = sql.SQL("SELECT count(*) FROM (SELECT {0} FROM {1} EXCEPT ALL SELECT {0} FROM {2}) AS differing")
            counts.append(int(fetch_value(connection, query.format(names, mine, theirs))))
    return Difference(table=f"staging.{table}", only_committed=counts[0], only_rebuilt=counts[1]) if any(counts) else None
