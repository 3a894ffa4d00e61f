"""What becomes of each row: loaded, pending until its parent comes, quarantined for its Id, or a copy of another.

Belongs here: the rules of repeated Ids and parents, for an increment (candidates) and for a full load (whole images).
Does not: bad records (intake.py) and ids (pairing.py).

Rules. One Id with different content in patients, encounters, claims, careplans: all of them wait in
quarantine. Identical copies of such a row are one. A row whose patient, encounter or claim is not loaded is pending; an
encounter or claim is the parent only together with the same patient.
"""

from collections.abc import Iterable, Mapping

from psycopg import sql

from omop_inc.source.tables import SOURCE_TABLES, Parent, SourceTable
from omop_inc.store.db import Connection, execute, fetch_value
from omop_inc.store.schemas import Schemas, name
from omop_inc.store.staging import FATE_COLUMNS, all_columns, create_staged, staged_columns
from omop_inc.store.survey import Survey, is_parent, survey


def held_tables(connection: Connection, schemas: Schemas) -> set[str]:
    """The source tables of which rows are held in quarantine or pending."""
    parts = [sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})").format(sql.Literal(t), name(schemas.quarantine, t)) for t in SOURCE_TABLES]
    return {row[0] for row in execute(connection, sql.SQL(" UNION ALL ").join(parts))}


def above() -> dict[str, frozenset[str]]:
    """For each source table its parents: the fate of a row waits for theirs."""
    return {table.name: frozenset(parent.table for parent in table.parents) for table in SOURCE_TABLES.values()}


def waits() -> dict[str, frozenset[str]]:
    """For each source table those of which a whole image must be settled before its own: what its rows name."""
    named = {table.name: [one for reference in table.references for one in reference.tables] for table in SOURCE_TABLES.values()}
    return {table: parents.union(named[table]) for table, parents in above().items()}


def reached(changed: Iterable[str], held: Iterable[str]) -> list[str]:
    """The source tables some of whose rows may change their fate: changed ones, those that hold rows back, and all below them."""
    found: list[str] = []
    for table, parents in above().items():  # in which parents stand before their children
        if table in {*changed, *held} or parents & set(found):
            found.append(table)
    return found


def forget_decisions(connection: Connection, schemas: Schemas, table: SourceTable) -> None:
    """Take back what a try whose COMMIT was not answered may have decided."""
    execute(connection, sql.SQL("DELETE FROM {} WHERE origin <> 'incoming'").format(name(schemas.run, table.name + "_candidate")))
    for suffix in ("_in", "_out", "_held_in", "_held_out"):
        execute(connection, sql.SQL("DELETE FROM {}").format(name(schemas.run, table.name + suffix)))


def gather_candidates(connection: Connection, schemas: Schemas, table: SourceTable, settled: Iterable[str]) -> None:
    """Add to a table's incoming candidates every stored row whose fate may change with them.

    Args:
        settled: The tables that have `_in` and `_out` tables already.
    """
    names = sql.SQL(", ").join(map(sql.Identifier, all_columns(table)))
    held = sql.SQL(
        "INSERT INTO {candidate} ({names}, origin, fate, rule) SELECT {names}, 'held', fate, rule FROM {held} AS held"
        " WHERE NOT EXISTS (SELECT FROM {leave} AS leave WHERE leave.row_id = held.row_id)"
    )
    parts = {
        "candidate": name(schemas.run, table.name + "_candidate"),
        "leave": name(schemas.run, table.name + "_leave"),
        "held": name(schemas.quarantine, table.name),
        "staging": name(schemas.staging, table.name),
        "names": names,
    }
    execute(connection, held.format(**parts))
    # What it was told at the end of the last run is that the table is empty: then each row would be compared with each.
    analyze = sql.SQL("ANALYZE {} (row_id, row_hash{})").format(parts["candidate"], sql.SQL(", id" if "id" in staged_columns(table) else ""))
    execute(connection, analyze)
    for rows, where in _reexamined(schemas, table, set(settled)):
        statement = sql.SQL(
            "INSERT INTO {candidate} ({names}, origin) SELECT {names}, 'staging' FROM {rows} AS image WHERE {where}"
            " AND NOT EXISTS (SELECT FROM {leave} AS leave WHERE leave.row_id = image.row_id)"
            " AND NOT EXISTS (SELECT FROM {candidate} AS other WHERE other.row_id = image.row_id)"
        )
        if execute(connection, statement.format(rows=rows, where=where, **parts)).rowcount:
            execute(connection, analyze)


def _reexamined(schemas: Schemas, table: SourceTable, settled: set[str]) -> list[tuple[sql.Composable, sql.Composed]]:
    """Which staged rows may change their fate, among which: children of parents that leave, and rows that share an Id."""
    image = name(schemas.staging, table.name)
    found: list[tuple[sql.Composable, sql.Composed]] = []
    for parent in table.parents:
        if parent.table in settled:
            lost = sql.SQL("(SELECT * FROM {out} AS gone WHERE NOT EXISTS (SELECT FROM {into} AS back WHERE {same}))").format(
                out=name(schemas.run, parent.table + "_out"), into=name(schemas.run, parent.table + "_in"), same=_same_row(parent, "back", "gone")
            )
            is_child = sql.SQL("EXISTS (SELECT FROM {} AS lost WHERE {})").format(lost, is_parent(table, parent, "lost", "image"))
            is_indexed = parent.column in (table.patient, table.encounter)
            found.append((image if is_indexed else _of_persons(table, parent, lost, image), is_child))
    if table.repeated_id == "quarantine":
        candidate = name(schemas.run, table.name + "_candidate")
        found.append((image, sql.SQL("image.id IN (SELECT id FROM {})").format(candidate)))
    return found


def _of_persons(table: SourceTable, parent: Parent, lost: sql.Composed, image: sql.Identifier) -> sql.Composed:
    """A query for the image's rows of the persons of lost parents.

    Where no index leads from a parent to its rows, the planner would look through all rows of its person, for each parent once again: of a
    person who leaves with 80 claims and 5,000 lines, 400,000.
    """
    return sql.SQL(
        "(SELECT own.* FROM (SELECT DISTINCT lost.{owner} AS id FROM {lost} AS lost) AS person"
        " CROSS JOIN LATERAL (SELECT * FROM {image} AS every WHERE every.{patient} = person.id OFFSET 0) AS own)"
    ).format(
        owner=sql.Identifier(str(SOURCE_TABLES[parent.table].patient)), lost=lost, image=image, patient=sql.Identifier(str(table.patient))
    )  # fmt: skip


def _same_row(parent: Parent, one: str, other: str) -> sql.Composed:
    """The condition under which two versions of a parent row are the same parent."""
    owner = SOURCE_TABLES[parent.table].patient
    assert owner is not None
    return sql.SQL(" AND ").join(sql.SQL("{} = {}").format(sql.Identifier(one, c), sql.Identifier(other, c)) for c in sorted({owner, "id"}))


def decide(connection: Connection, schemas: Schemas, table: SourceTable, settled: Iterable[str]) -> None:
    """Decide the fate of every candidate of an increment and derive the rows that enter and leave the image."""
    candidate = name(schemas.run, table.name + "_candidate")
    execute(connection, sql.SQL("UPDATE {} SET was = concat(fate, ' ', rule), fate = NULL, rule = NULL").format(candidate))
    if table.repeated_id == "quarantine":
        repeated = "SELECT id FROM {} GROUP BY id HAVING count(DISTINCT row_hash) > 1"
        _mark(connection, candidate, "quarantined", "repeated_id", sql.SQL("id IN (" + repeated + ")").format(candidate))
    for parent in table.parents:
        _mark(connection, candidate, "pending", f"parent_{parent.column}", _lacks(schemas, table, parent, set(settled)))
    if table.repeated_id == "quarantine":
        copy = sql.SQL("EXISTS (SELECT FROM {} AS first WHERE first.id = candidate.id AND first.fate IS NULL AND first.row_id < candidate.row_id)")
        _mark(connection, candidate, "copy", "identical", copy.format(candidate))
    execute(connection, sql.SQL("UPDATE {} SET fate = 'loaded' WHERE fate IS NULL").format(candidate))
    _derive(connection, schemas, table)


def _mark(connection: Connection, candidate: sql.Identifier, fate: str, rule: str, where: sql.Composed) -> None:
    statement = sql.SQL("UPDATE {} AS candidate SET fate = {}, rule = {} WHERE fate IS NULL AND {}")
    execute(connection, statement.format(candidate, sql.Literal(fate), sql.Literal(rule), where))


def _lacks(schemas: Schemas, table: SourceTable, parent: Parent, settled: set[str]) -> sql.Composed:
    """True for a candidate that names a parent which will not be loaded after this run."""
    is_settled = parent.table in settled
    staged = sql.SQL("EXISTS (SELECT FROM {} AS parent WHERE {}{})").format(
        name(schemas.staging, parent.table),
        is_parent(table, parent, "parent", "candidate"),
        sql.SQL(" AND NOT EXISTS (SELECT FROM {} AS gone WHERE gone.row_id = parent.row_id)").format(name(schemas.run, parent.table + "_out"))
        if is_settled
        else sql.SQL(""),
    )
    entering = sql.SQL("EXISTS (SELECT FROM {} AS parent WHERE {})").format(
        name(schemas.run, parent.table + "_in"), is_parent(table, parent, "parent", "candidate")
    )
    found = sql.SQL("({} OR {})").format(staged, entering) if is_settled else staged
    return sql.SQL("candidate.{} IS NOT NULL AND NOT {}").format(sql.Identifier(parent.column), found)


def _derive(connection: Connection, schemas: Schemas, table: SourceTable) -> None:
    """Fill `_in`, `_out` (staging) and `_held_in`, `_held_out` (quarantine) from a table's candidates."""
    parts = {
        "candidate": name(schemas.run, table.name + "_candidate"),
        "leave": name(schemas.run, table.name + "_leave"),
        "names": sql.SQL(", ").join(map(sql.Identifier, all_columns(table))),
        "into": name(schemas.run, table.name + "_in"),
        "out": name(schemas.run, table.name + "_out"),
        "held_in": name(schemas.run, table.name + "_held_in"),
        "held_out": name(schemas.run, table.name + "_held_out"),
    }
    stays = "(origin = 'held' AND was = concat(fate, ' ', rule))"
    for text in (
        "INSERT INTO {into} ({names}) SELECT {names} FROM {candidate} WHERE fate = 'loaded' AND origin <> 'staging'",
        "INSERT INTO {out} ({names}) SELECT {names} FROM {leave} WHERE origin = 'staging'"
        " UNION ALL SELECT {names} FROM {candidate} WHERE origin = 'staging' AND fate <> 'loaded'",
        f"INSERT INTO {{held_in}} ({{names}}, fate, rule) SELECT {{names}}, fate, rule FROM {{candidate}} WHERE fate <> 'loaded' AND NOT {stays}",
        "INSERT INTO {held_out} (row_id) SELECT row_id FROM {leave} WHERE origin = 'held'"
        f" UNION ALL SELECT row_id FROM {{candidate}} WHERE origin = 'held' AND (fate = 'loaded' OR NOT {stays})",
        "ANALYZE {into}",
        "ANALYZE {out}",
    ):
        execute(connection, sql.SQL(text).format(**parts))


def settle_image(connection: Connection, schemas: Schemas, table: SourceTable, limits: Mapping[str, int]) -> Survey:
    """Take out of a whole image built beside the rows that are not to be loaded; what they name must be settled before.

    Args:
        limits: By staged column the most characters of a text.

    Returns:
        What is seen of the rows that stay.
    """
    create_staged(connection, schemas.run, table, suffix="_held", extra=FATE_COLUMNS, unlogged=True)
    image, beside = name(schemas.next_staging, table.name), schemas.next_staging
    has_repeats = sql.SQL("SELECT EXISTS (SELECT id FROM {} GROUP BY id HAVING count(*) > 1)").format(image)
    is_repeated = table.repeated_id == "quarantine" and fetch_value(connection, has_repeats)
    if is_repeated:
        repeated = sql.SQL("image.id IN (SELECT id FROM {} GROUP BY id HAVING count(DISTINCT row_hash) > 1)").format(image)
        _take_out(connection, schemas, table, "quarantined", "repeated_id", repeated)
    seen = survey(connection, table, image, beside, limits, is_whole=True)
    for parent in seen.lacking:
        lacks = sql.SQL("image.{} IS NOT NULL AND NOT EXISTS (SELECT FROM {} AS parent WHERE {})").format(
            sql.Identifier(parent.column), name(beside, parent.table), is_parent(table, parent, "parent", "image")
        )
        _take_out(connection, schemas, table, "pending", f"parent_{parent.column}", lacks)
    if is_repeated:
        copy = sql.SQL("EXISTS (SELECT FROM {} AS first WHERE first.id = image.id AND first.row_id < image.row_id)")
        _take_out(connection, schemas, table, "copy", "identical", copy.format(image))
    if seen.lacking or is_repeated:
        seen = survey(connection, table, image, beside, limits, is_whole=True)
    return seen


def _take_out(connection: Connection, schemas: Schemas, table: SourceTable, fate: str, rule: str, where: sql.Composed) -> None:
    names = all_columns(table)
    statement = sql.SQL(
        "WITH taken AS (DELETE FROM {image} AS image WHERE {where} RETURNING {returned})"
        " INSERT INTO {held} ({names}, fate, rule) SELECT {names}, {fate}, {rule} FROM taken"
    )
    execute(
        connection,
        statement.format(
            image=name(schemas.next_staging, table.name),
            where=where,
            returned=sql.SQL(", ").join(sql.Identifier("image", n) for n in names),
            held=name(schemas.run, table.name + "_held"),
            names=sql.SQL(", ").join(map(sql.Identifier, names)),
            fate=sql.Literal(fate),
            rule=sql.Literal(rule),
        ),
    )
