"""What became of every loaded source row: the CDM tables that hold a row of its id, or the rule that gives it none.

Belongs here: the facts (which outcomes each source table has), counting them over whole tables and over what a run touched.
Does not: rows that are not loaded (store/fates.py), refusing a run whose sums do not add up (runs/accounting.py).

An increment counts the rows that it touches before and after, and moves the last run's counts by the difference.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from psycopg import sql

from omop_inc.cdm.delta import Delta, scope_name
from omop_inc.cdm.id_sets import IdSet, count_by_sets, read_id_set
from omop_inc.cdm.scope import visible_rows
from omop_inc.cdm.world import set_search_path
from omop_inc.resources import read_sql
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.store.db import Connection, execute
from omop_inc.store.schemas import Schemas, columns, name
from omop_inc.store.staging import all_columns

# A row with none of its source table's outcomes: something was lost, and the run must not be published.
UNEXPLAINED = "unexplained"

EVENT_TABLES = ("condition_occurrence", "drug_exposure", "procedure_occurrence", "measurement", "device_exposure", "specimen", "observation")

# By name: why a loaded row has no CDM row of its own.
RULES: Mapping[str, str] = MappingProxyType(
    {
        "person_without_event": "the person has no event, so no observation_period",
        "repeated_id": "another row of the same Id stands for it",
        "payer_of_periods": "the CDM has no table of payers; name and type are in the payer_plan_period rows that name it",
        "claim_of_transactions": "amounts come into cost with the claim's transactions; DIAGNOSIS1 marks the primary condition",
        "transfer_out": "comes back as a transfer in, which is the row that counts",
        "transfer_to_payer": "moves an amount between payers; charge and payment count, each once",
        "no_encounter": "neither the transaction nor its claim names an encounter that could bear the cost",
        "no_amount_of_cost": "is no charge, payment or transfer; cost has no field for its amount",
        "row_of_same_study": "one row per instance: another row of the same imaging study stands for the study",
        "row_of_procedures": "the study is a row of procedures too, which stands for it",
    }
)


@dataclass(frozen=True, kw_only=True)
class Fates:
    """What may become of the loaded rows of one source table."""

    tables: tuple[str, ...]  # CDM tables that a row may be in
    also: tuple[str, ...] = ()  # CDM tables in which every row must be besides
    rules: tuple[str, ...] = ()  # for rows that are in no table
    is_generic: bool = False  # in a table means: a row of that table has the row_id as its id; no SQL of its own


def _coded(*also: str) -> Fates:
    return Fates(tables=EVENT_TABLES, also=also, is_generic=True)


FATES: Mapping[str, Fates] = MappingProxyType(
    {
        "payers": Fates(tables=(), rules=("payer_of_periods", "repeated_id")),
        "organizations": Fates(tables=("care_site",), rules=("repeated_id",)),
        "providers": Fates(tables=("provider",), rules=("repeated_id",)),
        "patients": Fates(tables=("person",), rules=("person_without_event",)),
        "encounters": Fates(tables=("visit_detail",), also=("cost",), is_generic=True),
        "claims": Fates(tables=(), rules=("claim_of_transactions",)),
        "claims_transactions": Fates(tables=("cost",), rules=("transfer_out", "transfer_to_payer", "no_encounter", "no_amount_of_cost")),
        "conditions": _coded(),
        "medications": _coded("cost"),
        "immunizations": _coded("cost"),
        "procedures": _coded("cost"),
        "observations": _coded(),
        "allergies": _coded(),
        "careplans": _coded(),
        "devices": _coded(),
        "supplies": _coded(),
        "imaging_studies": Fates(tables=("procedure_occurrence", "observation"), rules=("row_of_same_study", "row_of_procedures")),
        "payer_transitions": Fates(tables=("payer_plan_period",)),
    }
)

# A few hundred rows each, whose outcome hangs on the other rows of their Id: counted anew.
COUNTED_WHOLE = frozenset({"payers", "organizations", "providers"})

# The transforms that give a patient's row its outcome; whom they looked at are the patients that a run touches.
OF_PATIENTS = frozenset({"person", "observation_period"})

Outcomes = dict[str, dict[str, int]]  # by source table and outcome: rows


# The CDM tables whose ids tell the outcomes of generic source tables.
ID_TABLES = tuple(sorted({table for fates in FATES.values() if fates.is_generic for table in (*fates.tables, *fates.also)}))


def count_whole(connection: Connection, table: str, staging: str, path: list[str], ids: Mapping[str, IdSet]) -> Counter[str]:
    """Count the outcomes of all loaded rows of a source table.

    Args:
        staging: The schema of the image.
        path: Where CDM tables and source tables are found by their plain names.
        ids: Of each of ID_TABLES the ids that it holds. Joins of whole tables in the server cost five times as much.
    """
    fates = FATES[table]
    if fates.is_generic:
        targets = (*fates.tables, *fates.also)
        counts = count_by_sets(read_id_set(connection, staging, table, "row_id"), [ids[target] for target in targets])
        found: Counter[str] = Counter()
        for number, count in counts.items():
            found[_outcome(fates, {target for place, target in enumerate(targets) if number >> place & 1})] += count
        return found
    return _count(connection, table, sql.SQL("SELECT * FROM {}").format(name(staging, table)), path)


def count_committed(connection: Connection, schemas: Schemas) -> Outcomes:
    """Count all outcomes of the committed CDM, or of what a transaction will commit."""
    ids = {table: read_id_set(connection, schemas.cdm, table, f"{table}_id") for table in ID_TABLES}
    path = committed_path(schemas)
    return {table: dict(sorted(count_whole(connection, table, schemas.staging, path, ids).items())) for table in SOURCE_TABLES}


def count_row(connection: Connection, schemas: Schemas, table: str, row: Mapping[str, Any]) -> Counter[str]:
    """The outcome of one loaded row, with the rows that may stand for it."""
    same = {"imaging_studies": "id", "payers": "id"}.get(table)  # there the other rows of the Id decide
    where = sql.SQL("row_id = {}").format(sql.Literal(row["row_id"]))
    owner = SOURCE_TABLES[table].patient
    if owner and not same:
        where += sql.SQL(" AND {} = {}").format(sql.Identifier(owner), sql.Literal(row[owner]))
    if same:
        where = sql.SQL("id = {}").format(sql.Literal(row["id"]))
    rows = sql.SQL("SELECT * FROM {} WHERE {}").format(name(schemas.staging, table), where)
    if FATES[table].is_generic:
        return _count_generic(connection, {table: rows}, committed_path(schemas))[table]
    return _count(connection, table, rows, committed_path(schemas))


def _count(connection: Connection, table: str, rows: sql.Composable, path: list[str], *, is_misjudged: bool = False) -> Counter[str]:
    """Count the outcomes of some rows of a source table; the statements see them as `counted`.

    Args:
        is_misjudged: Whether the planner takes these rows for many more than they are, so that they must be counted out to it.
    """
    set_search_path(connection, path)
    kind = "TABLE" if is_misjudged else "VIEW"
    execute(connection, sql.SQL(f"CREATE TEMP {kind} counted AS ") + rows)
    if is_misjudged:
        execute(connection, "ANALYZE pg_temp.counted")
    counts = Counter({outcome: int(count) for outcome, count in execute(connection, read_sql(f"accounting/{table}.sql"))})
    execute(connection, f"DROP {kind} pg_temp.counted")
    execute(connection, "SET LOCAL search_path TO DEFAULT")
    return counts


def _count_generic(connection: Connection, rows: Mapping[str, sql.Composable], path: list[str]) -> dict[str, Counter[str]]:
    """Count the outcomes of some rows of generic source tables, all in one statement: planning costs more than these few rows.

    The tables that hold a row of the same id are the bits of one number.
    """
    counts: dict[str, Counter[str]] = {table: Counter() for table in rows}
    if not rows:
        return counts
    set_search_path(connection, path)
    keys = [sql.Identifier(table, f"{table}_id") for table in ID_TABLES]
    query = sql.SQL("SELECT counted.source_table, {bits}, count(*) FROM ({rows}) AS counted{joins} GROUP BY 1, 2").format(
        bits=sql.SQL(" + ").join(sql.SQL("CASE WHEN {} IS NULL THEN 0 ELSE {} END").format(key, sql.Literal(1 << n)) for n, key in enumerate(keys)),
        rows=sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {} AS source_table, touched.row_id FROM ({}) AS touched").format(sql.Literal(table), one) for table, one in rows.items()
        ),
        joins=sql.SQL("").join(
            sql.SQL(" LEFT JOIN {} ON {} = counted.row_id").format(sql.Identifier(table), key) for table, key in zip(ID_TABLES, keys, strict=True)
        ),
    )
    for table, bits, count in execute(connection, query):
        present = {target for place, target in enumerate(ID_TABLES) if bits >> place & 1}
        counts[table][_outcome(FATES[table], present)] += int(count)
    execute(connection, "SET LOCAL search_path TO DEFAULT")
    return counts


def _outcome(fates: Fates, present: set[str]) -> str:
    """The outcome of a row by the tables that hold a row of its id, named in the order of the facts."""
    held = [table for table in fates.tables if table in present]
    return " + ".join(held) if held and present.issuperset(fates.also) else UNEXPLAINED


def count_touched(connection: Connection, delta: Delta, *, is_after: bool) -> dict[str, Counter[str]]:
    """Count the outcomes of the rows that an increment touches; OF_PATIENTS have run.

    Args:
        is_after: Whether image and CDM are changed already, in the publishing transaction.
    """
    path = committed_path(delta.schemas)
    touched = {table: rows for table in SOURCE_TABLES if (rows := _touched(delta, table, is_after=is_after)) is not None}
    found = _count_generic(connection, {table: rows for table, rows in touched.items() if FATES[table].is_generic}, path)
    for table, rows in touched.items():
        if not FATES[table].is_generic:
            # Few people have imaging studies, and these have thousands of rows: of an average person's share whole tables are joined.
            found[table] = _count(connection, table, rows, path, is_misjudged=table == "imaging_studies")
    return found


def committed_path(schemas: Schemas) -> list[str]:
    """Where the committed CDM and image are found by plain names."""
    return [schemas.cdm, schemas.staging]


def move(last: Mapping[str, Mapping[str, int]], before: Mapping[str, Counter[str]], after: Mapping[str, Counter[str]]) -> Outcomes:
    """The counts after a run: those of the last one, moved by what the touched rows were and are."""
    moved: Outcomes = {}
    for table in SOURCE_TABLES:
        counts = Counter(last.get(table, {}))
        if table in COUNTED_WHOLE and table in after:
            counts.clear()
        counts.update(after.get(table, Counter()))
        counts.subtract(before.get(table, Counter()))
        moved[table] = {outcome: count for outcome, count in sorted(counts.items()) if count}
    return moved


def _touched(delta: Delta, table: str, *, is_after: bool) -> sql.Composable | None:
    """A query for the rows of a table whose outcome an increment may move; None where there are none."""
    if table in COUNTED_WHOLE:
        return sql.SQL("SELECT * FROM {}").format(name(delta.schemas.staging, table)) if is_after and table in delta.settled else None
    if table == "patients":
        return _rows_of(delta, table, [_scoped(delta, one) for one in sorted(OF_PATIENTS & delta.ran)])
    if table == "imaging_studies":
        procedures = visible_rows(delta, SOURCE_TABLES["procedures"], ("encounter", "code", "start"))
        seen = [*visible_rows(delta, SOURCE_TABLES[table], SOURCE_TABLES[table].staged), *procedures]
        return _rows_of(delta, table, [sql.SQL("SELECT patient FROM ({}) AS seen").format(rows) for rows in seen])
    parts: list[sql.Composable] = []
    if table in delta.settled:
        side = name(delta.schemas.run, table + ("_in" if is_after else "_out"))
        parts.append(sql.SQL("SELECT {} FROM {}").format(columns(all_columns(SOURCE_TABLES[table])), side))
    if table == "claims_transactions" and "claims" in delta.settled:
        parts.append(_of_moved_claims(delta))
    return sql.SQL(" UNION ALL ").join(parts) if parts else None


def _scoped(delta: Delta, transform: str) -> sql.Composed:
    return sql.SQL("SELECT patient FROM {}").format(name(delta.schemas.run, scope_name(transform)))


def _rows_of(delta: Delta, table: str, persons: list[sql.Composed]) -> sql.Composed | None:
    """The image's rows of some persons, before or after it is changed."""
    if not persons:
        return None
    return sql.SQL("SELECT image.* FROM {} AS image WHERE image.{} IN ({})").format(
        name(delta.schemas.staging, table), sql.Identifier(str(SOURCE_TABLES[table].patient)), sql.SQL(" UNION ").join(persons)
    )


def _of_moved_claims(delta: Delta) -> sql.Composed:
    """Transactions that the run leaves as they are, and that name no encounter but by a claim which now names another."""
    run = delta.schemas.run
    return sql.SQL(
        "SELECT {listed} FROM {staging} AS image INNER JOIN ({claims}) AS claim ON image.patientid = claim.patientid AND image.claimid = claim.id"
        " WHERE image.appointmentid IS NULL{own}"
    ).format(
        listed=columns(all_columns(SOURCE_TABLES["claims_transactions"]), "image"),
        staging=name(delta.schemas.staging, "claims_transactions"),
        claims=sql.SQL(
            "SELECT entered.id, entered.patientid FROM {} AS entered INNER JOIN {} AS gone ON entered.row_id = gone.row_id"
            " AND entered.id = gone.id AND entered.patientid = gone.patientid AND entered.appointmentid IS DISTINCT FROM gone.appointmentid"
        ).format(name(run, "claims_in"), name(run, "claims_out")),
        own=sql.SQL("").join(
            sql.SQL(" AND NOT EXISTS (SELECT FROM {} AS own WHERE own.row_id = image.row_id)").format(name(run, "claims_transactions" + side))
            for side in ("_in", "_out")
            if "claims_transactions" in delta.settled
        ),
    )
