"""The names of the schemas that belong to one CDM, and nothing else.

Every CDM schema has a store of its own beside it; only the vocabulary is shared.
"""

from dataclasses import dataclass

from psycopg import sql


@dataclass(frozen=True, kw_only=True)
class Schemas:
    """The schemas of one CDM; each property is a schema's name."""

    cdm: str
    vocabulary: str

    @property
    def staging(self) -> str:
        """The typed current image of the source tables."""
        return f"{self.cdm}_staging"

    @property
    def state(self) -> str:
        """Hash state, ids, tombstones, code map."""
        return f"{self.cdm}_state"

    @property
    def quarantine(self) -> str:
        """Rows that are not loaded: bad records, repeated ids, orphans."""
        return f"{self.cdm}_quarantine"

    @property
    def ledger(self) -> str:
        """Runs, their timings, and the change feed."""
        return f"{self.cdm}_ledger"

    @property
    def run(self) -> str:
        """The running run's own tables; dropped by the next run."""
        return f"{self.cdm}_run"

    @property
    def result(self) -> str:
        """What the transforms of an increment write."""
        return f"{self.cdm}_run_result"

    @property
    def delta(self) -> str:
        """Views that show only the delta's rows."""
        return f"{self.cdm}_run_delta"

    @property
    def next_cdm(self) -> str:
        """The CDM that a full load builds beside."""
        return f"{self.cdm}_run_cdm"

    @property
    def next_staging(self) -> str:
        """The staging image that a full load builds beside."""
        return f"{self.cdm}_run_staging"

    def world(self, transform: str) -> str:
        """The views that one transform of an increment sees."""
        return f"{self.cdm}_run_w_{transform}"[:63]

    @property
    def durable(self) -> tuple[str, ...]:
        """The schemas that outlive a run."""
        return (self.cdm, self.staging, self.state, self.quarantine, self.ledger)


def name(schema: str, table: str) -> sql.Identifier:
    """Quote a table's full name."""
    return sql.Identifier(schema, table)


def columns(names: tuple[str, ...] | list[str], alias: str | None = None) -> sql.Composed:
    """Quote a column list, each behind an alias if one is given."""
    return sql.SQL(", ").join([sql.Identifier(alias, c) if alias else sql.Identifier(c) for c in names])


def row_of(names: tuple[str, ...] | list[str], alias: str) -> sql.Composed:
    """A ROW(...) of columns behind an alias, for comparisons of whole rows."""
    return sql.SQL("ROW({})").format(columns(names, alias))
