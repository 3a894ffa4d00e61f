"""The names of the schemas that belong to one CDM, and nothing else.

Every CDM schema has a store of its own beside it; only the vocabulary is shared.
"""

from dataclasses import dataclass, replace

from psycopg import sql


@dataclass(frozen=True, kw_only=True)
class Schemas:
    """The schemas of one CDM; each property is a schema's name."""

    cdm: str
    vocabulary: str
    of: str | None = None  # the CDM for which the other schemas are named, where `cdm` is one that a full load built beside
    is_beside: bool = False  # whether they are those of a run that builds whole tables beside, whose own names leave the scaffold's alone

    @property
    def _of(self) -> str:
        return self.of or self.cdm

    @property
    def staging(self) -> str:
        """The typed current image of the source tables."""
        return self.next_staging if self.of else f"{self.cdm}_staging"

    @property
    def state(self) -> str:
        """Hash state, ids, tombstones, code map."""
        return f"{self._of}_state"

    @property
    def quarantine(self) -> str:
        """Rows that are not loaded: bad records, repeated ids, orphans."""
        return f"{self._of}_quarantine"

    @property
    def ledger(self) -> str:
        """Runs, their timings, and the change feed."""
        return f"{self._of}_ledger"

    @property
    def run(self) -> str:
        """The running run's own tables."""
        return f"{self.scaffold}_load" if self.is_beside else self.scaffold

    @property
    def scaffold(self) -> str:
        """The tables in which increments work, which stay from run to run."""
        return f"{self._of}_run"

    @property
    def scaffold_pattern(self) -> str:
        """A LIKE pattern of all other schemas of runs."""
        return self.scaffold.replace("_", r"\_") + r"\_%"

    @property
    def result(self) -> str:
        """What the transforms of an increment write."""
        return f"{self.scaffold}_result"

    @property
    def delta(self) -> str:
        """Views that show only the delta's rows."""
        return f"{self.run}_delta"

    @property
    def next_cdm(self) -> str:
        """The CDM that a full load builds beside."""
        return f"{self.scaffold}_cdm"

    @property
    def next_staging(self) -> str:
        """The staging image that a full load builds beside."""
        return f"{self.scaffold}_staging"

    def world(self, transform: str) -> str:
        """The views that one transform of an increment sees."""
        return f"{self.scaffold}_w_{transform}"[:63]

    def over_built(self) -> "Schemas":
        """Those of increments, over image and CDM as a full load built them beside: what stands on these tables goes where they go."""
        return replace(self, cdm=self.next_cdm, of=self._of, is_beside=False)

    @property
    def beside(self) -> tuple[str, ...]:
        """The schemas of a run that builds whole tables beside; the next one drops them."""
        built = replace(self, is_beside=True)
        return (built.run, built.delta, built.next_cdm, built.next_staging)

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
