"""Which persons a transform must look at: those for whom something that it reads has changed.

Belongs here: persons reached by the delta, per transform. Does not: the rows that the transform then sees (world.py).
"""

from collections.abc import Iterable, Mapping

from psycopg import sql

from omop_inc.cdm.delta import Delta, has_person, scope_name
from omop_inc.cdm.transforms import ROUTED_VIEW, SqlFile, all_reads, code_views, transforms, views, views_of
from omop_inc.cdm.world import create_schema, create_view, create_views
from omop_inc.source.tables import SOURCE_TABLES, SourceTable
from omop_inc.store.db import Connection, execute, fetch_value
from omop_inc.store.schemas import Schemas, name


def visible_rows(delta: Delta, table: SourceTable, names: Iterable[str]) -> list[sql.Composed]:
    """Queries for the rows that entered and that left, of which a listed column changed; none for a table that is as it was."""
    return _visible_rows(delta.schemas, table, names) if table.name in delta.settled else []


def _visible_rows(schemas: Schemas, table: SourceTable, names: Iterable[str]) -> list[sql.Composed]:
    """A changed row whose listed columns are as before is not seen; a new or removed one always is."""
    parts = []
    compared = [n for n in names if n not in ("row_id", "row_hash")]
    for mine, other in (("_in", "_out"), ("_out", "_in")):
        same = sql.SQL(" AND ").join(
            sql.SQL("other.{0} IS NOT DISTINCT FROM mine.{0}").format(sql.Identifier(n)) for n in [*compared, *_owner(table)]
        )
        parts.append(
            sql.SQL("SELECT mine.* FROM {} AS mine WHERE NOT EXISTS (SELECT FROM {} AS other WHERE other.row_id = mine.row_id AND {})").format(
                name(schemas.run, table.name + mine), name(schemas.run, table.name + other), same
            )
        )
    return parts


def _owner(table: SourceTable) -> list[str]:
    return [table.patient or "id"]


def create_delta_views(connection: Connection, schemas: Schemas) -> None:
    """Make the world of the delta alone, with the views that tell its codes and where its rows go; the look-ups must be there."""
    create_schema(connection, schemas.delta)
    reads: dict[str, set[str]] = {"observations": {"units", "value", "type"}}
    for view in (*code_views(), *_routed_views()):
        for table, names in view.source_reads.items():
            reads.setdefault(table, set()).update(names)
    for table, seen in sorted(reads.items()):
        parts = _visible_rows(schemas, SOURCE_TABLES[table], sorted(seen))
        create_view(connection, name(schemas.delta, table), sql.SQL(" UNION ALL ").join(parts))
    path = [schemas.delta, schemas.run, schemas.state, schemas.vocabulary]
    create_views(connection, schemas.delta, [*code_views(), *_routed_views()], path)
    execute(connection, sql.SQL("CREATE UNLOGGED TABLE {} (target_table text, patient uuid)").format(name(schemas.run, "routed")))


def _routed_views() -> list[SqlFile]:
    """The routed view and what it reads, beyond the views that tell the codes."""
    chain = [*views_of(views()[ROUTED_VIEW]), views()[ROUTED_VIEW]]
    return [view for view in chain if view not in code_views()]


def gather_routed(connection: Connection, schemas: Schemas) -> None:
    """Note which persons' delta rows go to which CDM table, once for all transforms."""
    statement = sql.SQL("INSERT INTO {} SELECT DISTINCT target_table, patient FROM {}")
    execute(connection, statement.format(name(schemas.run, "routed"), name(schemas.delta, ROUTED_VIEW)))


def create_scope_tables(connection: Connection, schemas: Schemas) -> None:
    """Make the tables of each transform's persons, and the view of all persons before or after the run."""
    for transform in filter(has_person, transforms()):
        statement = sql.SQL("CREATE UNLOGGED TABLE {} (patient uuid PRIMARY KEY, person_id bigint NOT NULL)")
        execute(connection, statement.format(name(schemas.run, scope_name(transform))))
    query = sql.SQL("SELECT id AS patient, row_id AS person_id FROM {} UNION SELECT id, row_id FROM {}")
    create_view(connection, name(schemas.run, "known_person"), query.format(name(schemas.staging, "patients"), name(schemas.run, "patients_in")))


def build_scope(connection: Connection, delta: Delta, transform: str) -> int:
    """Fill the table of a transform's persons (patient, person_id).

    Returns:
        The number of persons; for a transform without a person 1 if it must run, else 0.
    """
    schemas, file = delta.schemas, transforms()[transform]
    sources, cdm_reads = all_reads(file, with_routed=False)
    if not has_person(transform):
        return int(transform in (delta.forced | delta.whole) or _is_touched(connection, delta, sources, cdm_reads))
    target = name(schemas.run, scope_name(transform))
    parts = [*_source_persons(delta, sources), *_dimension_persons(delta, sources)]
    if any(view.name == ROUTED_VIEW for view in views_of(file)):
        parts.append(sql.SQL("SELECT patient FROM {} WHERE target_table = {}").format(name(schemas.run, "routed"), sql.Literal(transform)))
    parts += [part for table, names in cdm_reads.items() for part in _upstream_persons(delta, table, names)]
    wanted = sql.SQL(" UNION ").join(parts) if parts else sql.SQL("SELECT NULL::uuid AS patient WHERE false").format()
    where = sql.SQL("true") if transform in delta.whole else sql.SQL("patient IN ({})").format(wanted)
    statement = sql.SQL("INSERT INTO {} SELECT patient, min(person_id) FROM {} WHERE {} GROUP BY patient")
    count = execute(connection, statement.format(target, name(schemas.run, "known_person"), where)).rowcount
    execute(connection, sql.SQL("ANALYZE {}").format(target))
    return count


def _source_persons(delta: Delta, sources: Mapping[str, tuple[str, ...]]) -> list[sql.Composed]:
    parts = []
    for table, names in sorted(sources.items()):
        facts = SOURCE_TABLES[table]
        if facts.patient is not None:
            for rows in visible_rows(delta, facts, names):
                parts.append(sql.SQL("SELECT {} AS patient FROM ({}) AS seen").format(sql.Identifier(facts.patient), rows))
    return parts


def _dimension_persons(delta: Delta, sources: Mapping[str, tuple[str, ...]]) -> list[sql.Composed]:
    """Persons whose rows name a dimension row of which a read column changed."""
    parts = []
    for table, names in sorted(sources.items()):
        facts = SOURCE_TABLES[table]
        for reference in facts.references if facts.patient else ():
            for dimension in reference.tables:
                if reference.column not in names or dimension not in sources or dimension not in delta.settled:
                    continue
                for rows in visible_rows(delta, SOURCE_TABLES[dimension], sources[dimension]):
                    parts.append(
                        sql.SQL("SELECT image.{} AS patient FROM {} AS image WHERE image.{} IN (SELECT id FROM ({}) AS seen)").format(
                            sql.Identifier(str(facts.patient)),
                            name(delta.schemas.staging, table),
                            sql.Identifier(reference.column),
                            rows,
                        )
                    )
    return parts


def _upstream_persons(delta: Delta, table: str, names: tuple[str, ...]) -> list[sql.Composed]:
    """Persons for whom another transform of this run wrote something else in a column that is read."""
    if table not in delta.ran or not has_person(table):
        return []
    schemas = delta.schemas
    listed = sql.SQL(", ").join(sql.Identifier(n) for n in dict.fromkeys(("person_id", *names)))
    sides = [sql.SQL("SELECT {} FROM {}").format(listed, name(schemas.run, f"{kind}_{table}")) for kind in ("gone", "added")]
    return [
        sql.SQL(
            "SELECT scope.patient FROM {} AS scope INNER JOIN (SELECT person_id FROM ({} EXCEPT ALL {}) AS differing) AS differing"
            " ON differing.person_id = scope.person_id"
        ).format(name(schemas.run, scope_name(table)), one, other)
        for one, other in (sides, sides[::-1])
    ]


def _is_touched(connection: Connection, delta: Delta, sources: Mapping[str, tuple[str, ...]], cdm_reads: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether a transform without a person reads anything that changed."""
    if any(table in delta.ran for table in cdm_reads):
        return True
    parts = [rows for table, names in sources.items() for rows in visible_rows(delta, SOURCE_TABLES[table], names)]
    if not parts:
        return False
    exists = sql.SQL(" OR ").join(sql.SQL("EXISTS ({})").format(rows) for rows in parts)
    return bool(fetch_value(connection, sql.SQL("SELECT {}").format(exists)))
