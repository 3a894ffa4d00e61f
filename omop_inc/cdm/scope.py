"""Which persons a transform must look at: those for whom something that it reads has changed.

Belongs here: persons reached by the delta, per transform. Does not: the rows that the transform then sees (world.py).
"""

from collections.abc import Iterable, Iterator, Mapping

from psycopg import sql

from omop_inc.cdm.delta import Delta, encounter_scope_name, has_person, scope_name
from omop_inc.cdm.dimensions import build_units, create_unit_tables, is_of_places, seen_schema
from omop_inc.cdm.transforms import PLACE_VIEW, PRESENCE_VIEW, ROUTED_VIEW, Reads, SqlFile, all_reads, code_views, transforms, views, views_of
from omop_inc.cdm.world import create_schema, create_view, create_views
from omop_inc.source.tables import SOURCE_TABLES, SourceTable
from omop_inc.store.db import Connection, execute, fetch_value
from omop_inc.store.schemas import Schemas, name

# What PRESENCE_VIEW looks at.
CLAIM_LINES = SOURCE_TABLES["claims_transactions"]


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
    return [n for n in (table.patient or "id", table.encounter) if n is not None]


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
    execute(connection, sql.SQL("CREATE UNLOGGED TABLE {} (target_table text, patient uuid, encounter uuid)").format(name(schemas.run, "routed")))


def create_place_views(connection: Connection, schemas: Schemas) -> None:
    """Make the view of the places of rows that came and went, for each transform that looks at places."""
    for transform in filter(is_of_places, transforms().values()):
        schema = seen_schema(schemas, transform.name)
        create_schema(connection, schema)
        for table, names in all_reads(views()[PLACE_VIEW])[0].items():
            create_view(connection, name(schema, table), sql.SQL(" UNION ALL ").join(_visible_rows(schemas, SOURCE_TABLES[table], names)))
        create_views(connection, schema, [views()[PLACE_VIEW]], [schema, schemas.state])


def _routed_views() -> list[SqlFile]:
    """The routed view and what it reads, beyond the views that tell the codes."""
    chain = [*views_of(views()[ROUTED_VIEW]), views()[ROUTED_VIEW]]
    return [view for view in chain if view not in code_views()]


def gather_routed(connection: Connection, schemas: Schemas) -> None:
    """Note of which persons and encounters delta rows go to which CDM table, and give ids to their further targets, once for all transforms.

    Where a code has several targets in one table, the rows behind the first have an id of their own: those of older source rows
    have theirs since these came.
    """
    statement = sql.SQL(
        "WITH event AS MATERIALIZED (SELECT target_table, patient, encounter, id_key FROM {events}),"
        " numbered AS (INSERT INTO {new} (id_key) SELECT DISTINCT id_key FROM event WHERE id_key IS NOT NULL"
        " AND NOT EXISTS (SELECT FROM {known} AS known WHERE known.id_key = event.id_key))"
        " INSERT INTO {routed} SELECT DISTINCT target_table, patient, encounter FROM event"
    )
    names = {"new": "new_content_id", "known": "content_id", "routed": "routed"}
    parts = {key: name(schemas.run, table) for key, table in names.items()}
    execute(connection, statement.format(events=name(schemas.delta, ROUTED_VIEW), **parts))


def create_scope_tables(connection: Connection, schemas: Schemas) -> None:
    """Make the tables of each transform's persons and encounters, and the view of all persons before or after the run."""
    for transform in filter(has_person, transforms()):
        statement = sql.SQL("CREATE UNLOGGED TABLE {} (patient uuid PRIMARY KEY, person_id bigint NOT NULL, is_whole boolean NOT NULL)")
        execute(connection, statement.format(name(schemas.run, scope_name(transform))))
        if transforms()[transform].is_by_encounter:
            statement = sql.SQL("CREATE UNLOGGED TABLE {} (patient uuid, encounter uuid)")
            execute(connection, statement.format(name(schemas.run, encounter_scope_name(transform))))
    create_unit_tables(connection, schemas)
    query = sql.SQL("SELECT id AS patient, row_id AS person_id FROM {} UNION SELECT id, row_id FROM {}")
    create_view(connection, name(schemas.run, "known_person"), query.format(name(schemas.staging, "patients"), name(schemas.run, "patients_in")))
    query = sql.SQL("SELECT id, patient, row_id FROM {} UNION ALL SELECT id, patient, row_id FROM {}")
    create_view(
        connection, name(schemas.run, "known_encounter"), query.format(name(schemas.staging, "encounters"), name(schemas.run, "encounters_in"))
    )


def build_scope(connection: Connection, delta: Delta, transform: str) -> int:
    """Fill the table of a transform's persons (patient, person_id, is_whole), and of encounters where these are enough.

    Returns:
        The number of persons, or of Ids or places; for a transform that looks at everything 1 if it must run, else 0.
    """
    file = transforms()[transform]
    if file.dimension:  # what it reads of other transforms follows from the same rows
        table = SOURCE_TABLES.get(file.dimension)
        return build_units(connection, delta, file, _dimension_ids(delta, table, all_reads(file)[0]) if table else [])
    if not has_person(transform):
        sources, cdm_reads = all_reads(file, with_routed=False)
        return int(transform in (delta.forced | delta.whole) or _is_touched(connection, delta, sources, cdm_reads))
    target, known = name(delta.schemas.run, scope_name(transform)), name(delta.schemas.run, "known_person")
    if transform in delta.whole:
        statement = sql.SQL("INSERT INTO {} SELECT patient, min(person_id), true FROM {} GROUP BY patient")
        count = execute(connection, statement.format(target, known)).rowcount
    elif file.is_by_encounter:
        count = _build_encounter_scope(connection, delta, file)
    else:
        statement = sql.SQL(
            "INSERT INTO {} SELECT patient, min(person_id), true FROM {} WHERE patient IN (SELECT patient FROM ({}) AS seen) GROUP BY patient"
        )
        count = execute(connection, statement.format(target, known, _seen(delta, file))).rowcount
    execute(connection, sql.SQL("ANALYZE {}").format(target))
    return count


def _build_encounter_scope(connection: Connection, delta: Delta, file: SqlFile) -> int:
    """Fill the tables of persons and encounters; a person with something that belongs to no encounter is looked at whole."""
    run = delta.schemas.run
    encounters, target, known = name(run, encounter_scope_name(file.name)), name(run, scope_name(file.name)), name(run, "known_person")
    execute(connection, sql.SQL("INSERT INTO {} SELECT DISTINCT patient, encounter FROM ({}) AS seen").format(encounters, _seen(delta, file)))
    statement = sql.SQL(
        "INSERT INTO {} SELECT seen.patient, min(known.person_id), bool_or(seen.encounter IS NULL)"
        " FROM {} AS seen INNER JOIN {} AS known ON seen.patient = known.patient GROUP BY seen.patient"
    )
    count = execute(connection, statement.format(target, encounters, known)).rowcount
    if PRESENCE_VIEW in {view.name for view in views_of(file)}:
        # a line without an appointment may be of any of the person's encounters: its claim tells
        statement = sql.SQL("UPDATE {} AS scope SET is_whole = true WHERE EXISTS (SELECT FROM {} WHERE patientid = scope.patient AND {} IS NULL)")
        execute(connection, statement.format(target, name(delta.schemas.staging, CLAIM_LINES.name), sql.Identifier(str(CLAIM_LINES.encounter))))
    execute(connection, sql.SQL("ANALYZE {}").format(encounters))
    statement = sql.SQL("DELETE FROM {} WHERE patient IN (SELECT patient FROM {} WHERE is_whole)")
    execute(connection, statement.format(encounters, target))
    return count


def _seen(delta: Delta, file: SqlFile) -> sql.Composed:
    """A query for the persons, and encounters or NULL, for whom something that a transform reads has changed."""
    sources, cdm_reads = all_reads(file, with_routed=False)
    parts = [*_source_persons(delta, sources), *_dimension_persons(delta, sources)]
    shared = {view.name for view in views_of(file)}
    if ROUTED_VIEW in shared:
        routed = sql.SQL("SELECT patient, encounter FROM {} WHERE target_table = {}")
        parts.append(routed.format(name(delta.schemas.run, "routed"), sql.Literal(file.name)))
    if PRESENCE_VIEW in shared and CLAIM_LINES.name in delta.settled:
        parts.append(_of_first_or_last_claim(delta))
    parts += [part for table, names in cdm_reads.items() for part in _upstream_persons(delta, table, names)]
    return sql.SQL(" UNION ALL ").join(parts) if parts else sql.SQL("SELECT NULL::uuid AS patient, NULL::uuid AS encounter WHERE false").format()


def _place(table: SourceTable, alias: str) -> sql.Composed:
    """The person of a source row, and its encounter or NULL."""
    encounter = sql.SQL("NULL::uuid") if table.encounter is None else sql.Identifier(alias, table.encounter)
    return sql.SQL("{} AS patient, {} AS encounter").format(sql.Identifier(alias, str(table.patient)), encounter)


def _source_persons(delta: Delta, sources: Mapping[str, tuple[str, ...]]) -> list[sql.Composed]:
    parts = []
    for table, names in sorted(sources.items()):
        facts = SOURCE_TABLES[table]
        if facts.patient is not None:
            for rows in visible_rows(delta, facts, names):
                parts.append(sql.SQL("SELECT {} FROM ({}) AS seen").format(_place(facts, "seen"), rows))
    return parts


def _dimension_persons(delta: Delta, sources: Reads) -> list[sql.Composed]:
    """Persons whose rows name a dimension row of which a read column changed."""
    statement = sql.SQL("SELECT {} FROM {} AS image WHERE image.{} IN (SELECT id FROM ({}) AS seen)")
    return [
        statement.format(_place(facts, "image"), name(delta.schemas.staging, facts.name), sql.Identifier(column), rows)
        for facts in (SOURCE_TABLES[table] for table in sorted(sources))
        if facts.patient
        for column, rows in _named_rows(delta, facts, sources)
    ]


def _named_rows(delta: Delta, table: SourceTable, sources: Reads) -> Iterator[tuple[str, sql.Composed]]:
    """The read columns of a table that name rows of a dimension, with the rows of that dimension of which a read column changed."""
    for reference in table.references:
        for dimension in reference.tables:
            if reference.column in sources[table.name] and dimension in sources:
                for rows in visible_rows(delta, SOURCE_TABLES[dimension], sources[dimension]):
                    yield reference.column, rows


def _dimension_ids(delta: Delta, table: SourceTable, sources: Reads) -> list[sql.Composed]:
    """Ids of a dimension of which a row came or went, or a row that it names."""
    own = [sql.SQL("SELECT id FROM ({}) AS seen").format(rows) for rows in visible_rows(delta, table, sources[table.name])]
    statement = sql.SQL("SELECT image.id FROM {} AS image WHERE image.{} IN (SELECT id FROM ({}) AS seen)")
    naming = [
        statement.format(name(delta.schemas.staging, table.name), sql.Identifier(column), rows) for column, rows in _named_rows(delta, table, sources)
    ]
    return own + naming


def _of_first_or_last_claim(delta: Delta) -> sql.Composed:
    """Persons of whose claim lines (sql/view/claim_person.sql) none stays, so that all of their costs may be told otherwise."""
    run, lines = delta.schemas.run, CLAIM_LINES.name
    # A probe for each person, which ends at the first line more than go: as a join it would be made over all lines of all persons, and the
    # lines that go looked through for each line that was there.
    return sql.SQL(
        "SELECT seen.patientid AS patient, NULL::uuid AS encounter FROM (SELECT patientid, count(*) FILTER (WHERE goes AND type <> 'TRANSFEROUT')"
        " AS gone FROM (SELECT patientid, type, false AS goes FROM {entered} UNION ALL SELECT patientid, type, true FROM {gone}) AS line"
        " GROUP BY patientid) AS seen WHERE (SELECT count(*) FROM (SELECT FROM {image} AS image WHERE image.patientid = seen.patientid"
        " AND image.type <> 'TRANSFEROUT' LIMIT seen.gone + 1) AS probe) <= seen.gone"
    ).format(entered=name(run, lines + "_in"), gone=name(run, lines + "_out"), image=name(delta.schemas.staging, lines))


def _upstream_persons(delta: Delta, table: str, names: tuple[str, ...]) -> list[sql.Composed]:
    """Persons for whom another transform of this run wrote something else in a column that is read, and encounters of visit_detail."""
    if table not in delta.ran or not has_person(table):
        return []
    schemas = delta.schemas
    key = ("visit_detail_id",) if table == "visit_detail" else ()
    listed = sql.SQL(", ").join(sql.Identifier(n) for n in dict.fromkeys(("person_id", *key, *names)))
    sides = [sql.SQL("SELECT {} FROM {}").format(listed, name(schemas.run, f"{kind}_{table}")) for kind in ("gone", "added")]
    encounter = sql.SQL("NULL::uuid AS encounter")
    joined: sql.Composable = sql.SQL("")
    if table == "visit_detail":  # its id is the encounter's row_id
        encounter = sql.SQL("encounters.id AS encounter")
        joined = sql.SQL(
            " INNER JOIN {} AS encounters ON encounters.patient = scope.patient AND encounters.row_id = differing.visit_detail_id"
        ).format(name(schemas.run, "known_encounter"))
    return [
        sql.SQL(
            "SELECT scope.patient, {} FROM {} AS scope INNER JOIN ({} EXCEPT ALL {}) AS differing ON differing.person_id = scope.person_id{}"
        ).format(encounter, name(schemas.run, scope_name(table)), one, other, joined)
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
