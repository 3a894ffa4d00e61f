"""Checks under test: a full check of what a CDM holds, beside what its runs have kept.

Belongs here: comparing counts. Does not: making rows that violate a check (the tests of each).
"""

from omop_inc.cdm.quality.checker import Checked
from omop_inc.cdm.quality.queries import check_queries
from omop_inc.runs.checking import committed_checker, read_last_run
from omop_inc.store import check_ledger
from omop_inc.store.db import open_database
from omop_inc.store.schemas import Schemas
from tests.stores import Cdm


def check_in_full(cdm: Cdm) -> tuple[Checked, dict[str, check_ledger.StoredResult]]:
    """Every check counted over the committed CDM, and the results that the runs kept."""
    settings = cdm.settings()
    database, schemas = open_database(settings), Schemas(cdm=cdm.schema, vocabulary="vocab")
    try:
        with database.connection() as connection:
            checker = committed_checker(database, schemas, connection, check_queries(settings.checks_dir), read_last_run(database, schemas))
            kept = check_ledger.read_current(connection, schemas)
        return checker.conclude(checker.check(table) for table in checker.tables()), kept
    finally:
        database.close()


def disagreements(cdm: Cdm) -> list[str]:
    """Checks whose kept counts or status are not those of a full check."""
    checked, kept = check_in_full(cdm)
    found = []
    for one in checked.results:
        full = (one.count.violated, one.count.denominator, one.status)
        known = kept.get(one.check.id)
        stored = (known.violated, known.denominator, known.status) if known else None
        if stored != full:
            found.append(f"{one.check.id}: kept {stored}, in full {full}")
    return found
