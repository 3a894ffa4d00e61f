"""A database in which cases are loaded step by step, and what it then holds of each case.

Belongs here: runs, reading the CDM, putting short names in the place of ids. Does not: case folders (cases.py), comparing (test_cases.py).
Cases share a database because a run costs seconds: their people, and so their rows, are apart.
"""

import traceback
import uuid
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from omop_inc.cdm.transforms import transforms
from omop_inc.runs.snapshots import Kind, Request, apply_snapshot
from omop_inc.settings import Settings
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.telling.summary import Summary
from tests.sql.cases import NAME_COLUMNS, ROOT, VOCABULARY, Case, Snapshots

RESIDENT = ROOT / "resident"
ROUTED = ("condition_occurrence", "drug_exposure", "procedure_occurrence", "measurement", "observation", "device_exposure", "specimen")
KEYS = {"observation_period": "person_id", "death": "person_id", "fact_relationship": "fact_id_1"}
ERA_CONTENT = {
    "condition_era": ("person_id", "condition_concept_id", "condition_era_start_date"),
    "drug_era": ("person_id", "drug_concept_id", "drug_era_start_date"),
    "dose_era": ("person_id", "drug_concept_id", "unit_concept_id", "dose_value", "dose_era_start_date"),
}
Connection = psycopg.Connection[dict[str, Any]]
CaseName = tuple[Case, str]


@dataclass
class World:
    """Cases in a database, and what became of them."""

    cases: list[Case]
    is_alone: bool
    names: dict[int, CaseName] = field(default_factory=dict)  # id -> its case and what it stands for
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    feed: list[list[dict[str, Any]]] = field(default_factory=list)  # per step
    problem: str | None = None
    rerun_status: str = ""
    verify_problem: str | None = None

    def rows(self, case: Case, header: list[str]) -> list[dict[str, str]]:
        """The rows of a case in its CDM table, as text, with short names for ids."""
        mine = [row for row in self.tables[case.table] if self._is_of(case, row)]
        return [{name: self._text(case, name, row[name]) for name in header} for row in mine]

    def changes(self, case: Case) -> list[dict[str, str]]:
        """What the increments from the second snapshot on wrote of a case's table."""
        found = []
        for step, feed in enumerate(self.feed):
            for row in feed if step else []:
                owner, name = self.names.get(row["id"], (case if self.is_alone else None, ""))
                if row["table"] == case.table and owner == case:
                    found.append({"snapshot": str(step + 1), "row": name, "kind": row["kind"]})
        return found

    def _is_of(self, case: Case, row: dict[str, Any]) -> bool:
        if self.is_alone:
            return True
        key = row["person_id"] if "person_id" in row else row[KEYS.get(case.table, f"{case.table}_id")]
        return key in self.names and self.names[key][0] == case

    def _text(self, case: Case, column: str, value: Any) -> str:
        match value:
            case None:
                return ""
            case "":
                return "(empty)"  # no column of the CDM should hold a text without characters
            case datetime():
                return value.strftime("%Y-%m-%d %H:%M:%S")
            case date():
                return value.isoformat()
            case Decimal():
                return format(value.normalize(), "f")
            case int() if _is_id(column):
                return self.names[value][1] if value in self.names else "?"
            case str() if _is_uuid(value):
                return case.name_of(value) or value
            case _:
                return str(value)


def build_world(cases: list[Case], url: str, folder: Path, *, is_ready: bool) -> World:
    """Load cases step by step: after the resident, where they share a database; a case that is alone into an empty one.

    Args:
        cases: What to load.
        url: The database.
        folder: For the snapshots.
        is_ready: Whether the database is as the first step needs it; else the resident comes first.
    """
    is_alone = cases[0].is_alone
    world = World(cases=cases, is_alone=is_alone)
    settings = Settings(state_dir=folder / "state", database_url=url, workers=2)
    snapshots = Snapshots(cases=cases if is_alone else [*cases, Case(RESIDENT)], is_sparse=is_alone)
    try:
        if not is_ready:
            prepare_resident(url, folder)
        for step in range(snapshots.steps):
            source = snapshots.write(step, folder / str(step + 1))
            summary = _apply(source, settings, cases[0].vocabulary if is_alone and not step else None)
            with psycopg.connect(url, row_factory=dict_row) as connection:
                _note_names(connection, world)
                query = "SELECT * FROM cdm_ledger.change_feed WHERE run_id = %s"
                world.feed.append(connection.execute(query, (summary.run_id,)).fetchall())
        world.rerun_status = _apply(source, settings, None).status
        _, error = apply_snapshot(Request(source=source, kind="verify"), settings)
        world.verify_problem = str(error) if error else None
    except Exception as error:  # told by each case of the world, which is not built again for it
        world.problem = "".join(traceback.format_exception(error))
    return world


def prepare_resident(url: str, folder: Path) -> None:
    """Fill a database with the vocabulary and the resident: what cases that share a database come to."""
    source = Snapshots(cases=[Case(RESIDENT)], is_sparse=False).write(0, folder / "resident")
    _apply(source, Settings(state_dir=folder / "state", database_url=url, workers=2), VOCABULARY)


def build_brief_world(cases: list[Case], url: str, folder: Path, *, is_ready: bool) -> World:
    """Load cases of one snapshot as one increment to a database with the resident; nothing is checked or rebuilt."""
    world = World(cases=cases, is_alone=False)
    settings = Settings(state_dir=folder / "state", database_url=url, workers=2, checks="off")
    try:
        if not is_ready:
            prepare_resident(url, folder)
        _apply(Snapshots(cases=[*cases, Case(RESIDENT)], is_sparse=False).write(0, folder / "1"), settings, None)
        with psycopg.connect(url, row_factory=dict_row) as connection:
            _note_names(connection, world)
    except Exception as error:  # told by each case of the world, which is not built again for it
        world.problem = "".join(traceback.format_exception(error))
    return world


def _apply(source: Path, settings: Settings, vocabulary: Path | None, kind: Kind = "incremental") -> Summary:
    """Run once; a guard is told that the snapshot is meant."""
    summary, error = apply_snapshot(Request(source=source, kind=kind, vocabulary=vocabulary), settings)
    if summary.status == "refused":
        allowing = settings.model_copy(update={"allow": summary.snapshot_digest})
        summary, error = apply_snapshot(Request(source=source, kind=kind), allowing)
    if error is not None:
        raise AssertionError(f"The snapshot could not be applied: {summary.status}, {summary.message}") from error
    return summary


def _note_names(connection: Connection, world: World) -> None:
    """Learn what every id stands for; an id once known keeps its name, so that removed rows have one."""
    by_prefix = {case.prefix: case for case in world.cases}
    for table, facts in SOURCE_TABLES.items():
        owner, label = facts.patient or "id", NAME_COLUMNS.get(table, "description")
        query = sql.SQL("SELECT row_id, {} AS owner, {} AS label FROM {}")
        for row in connection.execute(query.format(*map(sql.Identifier, (owner, label)), sql.Identifier("cdm_staging", table))):
            if case := by_prefix.get(row["owner"].hex[:8]):
                text = case.name_of(row["label"]) if label == "id" else row["label"]
                world.names[row["row_id"]] = (case, text or "")
    world.tables = {table: connection.execute(sql.SQL("SELECT * FROM cdm.{}").format(sql.Identifier(table))).fetchall() for table in transforms()}
    _name_places(connection, world, by_prefix)
    _name_contents(connection, world)


def _name_places(connection: Connection, world: World, by_prefix: dict[str, Case]) -> None:
    """A location is its city, or whatever else it has, and belongs to the case with that address."""
    statement = """
        WITH address AS (
            SELECT id, address, city, zip, lat, lon FROM cdm_staging.patients
            UNION SELECT id, address, city, zip, lat, lon FROM cdm_staging.organizations
            UNION SELECT id, address, city, zip, lat, lon FROM cdm_staging.providers
        )
        SELECT location.location_id, address.id, coalesce(
            location.city, location.address_1, location.zip, trim_scale(location.latitude) || '/' || trim_scale(location.longitude), 'somewhere'
        ) AS label
        FROM address INNER JOIN cdm.location ON location.address_1 IS NOT DISTINCT FROM left(address.address, 50)
            AND location.city IS NOT DISTINCT FROM left(address.city, 50) AND location.zip IS NOT DISTINCT FROM left(address.zip, 9)
            AND location.latitude IS NOT DISTINCT FROM address.lat AND location.longitude IS NOT DISTINCT FROM address.lon
    """
    for row in connection.execute(statement):
        if case := by_prefix.get(row["id"].hex[:8]):
            world.names[row["location_id"]] = (case, row["label"])


def _name_contents(connection: Connection, world: World) -> None:
    """Ids that stand for content: a second target is its source row's name and a +; an era, whose key must stay what it is, is 'era'."""
    for table in transforms():
        key = f"{table}_id"
        rows = [row for row in world.tables[table] if "person_id" in row and key in row and row[key] not in world.names]
        for row in (row for row in rows if row["person_id"] in world.names):
            case, text = world.names[row["person_id"]][0], ""
            if table == "payer_plan_period":
                text = f"{row['payer_source_value']} {row['payer_plan_period_start_date']}"
            world.names[row[key]] = (case, text)
        if table in ERA_CONTENT:
            _name_eras(connection, world, table)
        if table in ROUTED:
            _name_second_targets(connection, world, table, [row[key] for row in rows])


def _name_eras(connection: Connection, world: World, table: str) -> None:
    """An id keeps its era over versions of the SQL only while its key is made in the same way: another key has no name."""
    content = ", ".join(f"cdm.{column}::text" for column in ERA_CONTENT[table])
    statement = f"""
        SELECT cdm.{table}_id AS id FROM cdm.{table} AS cdm INNER JOIN cdm_state.content_id
        ON content_id.id = cdm.{table}_id AND content_id.id_key = cdm_state.content_key('{table}', {content})
    """
    for row in connection.execute(statement):  # type: ignore[call-overload]
        if row["id"] in world.names:
            world.names[row["id"]] = (world.names[row["id"]][0], "era")


def _name_second_targets(connection: Connection, world: World, table: str, ids: list[int]) -> None:
    """Find the source row by the key that the id was given for, so that a wrong key has no name."""
    concept = {"drug_exposure": "drug", "device_exposure": "device"}.get(table, table.removesuffix("_occurrence")) + "_concept_id"
    value = "cdm.value_as_concept_id::text" if table in ("measurement", "observation") else "NULL"
    statement = f"""
        SELECT cdm.{table}_id AS id, source.row_id, kind.name
        FROM cdm.{table} AS cdm
        INNER JOIN unnest(%(rows)s::bigint[]) AS source (row_id) ON true
        CROSS JOIN LATERAL (VALUES
            ('+', cdm_state.content_key('{table}', source.row_id::text, cdm.{concept}::text, {value})),
            (' reaction 1', cdm_state.content_key('{table}', source.row_id::text, 'reaction', '1')),
            (' reaction 2', cdm_state.content_key('{table}', source.row_id::text, 'reaction', '2'))
        ) AS kind (name, id_key)
        INNER JOIN cdm_state.content_id ON content_id.id_key = kind.id_key AND content_id.id = cdm.{table}_id
        WHERE cdm.{table}_id = ANY(%(ids)s)
    """
    for row in connection.execute(statement, {"rows": list(world.names), "ids": ids}):  # type: ignore[arg-type]
        case, name = world.names[row["row_id"]]
        world.names[row["id"]] = (case, name + row["name"])


def _is_id(column: str) -> bool:
    return column.endswith("_id") and not column.endswith("_concept_id") or column in ("fact_id_1", "fact_id_2")


def _is_uuid(value: str) -> bool:
    try:
        return str(uuid.UUID(value)) == value
    except ValueError:
        return False
