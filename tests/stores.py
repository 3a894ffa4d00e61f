"""A CDM under test: runs against it, what they wrote, and the database with a loaded vocabulary that they need.

Belongs here: driving the core as a caller would. Does not: comparing (comparing.py) and snapshots (worlds.py).
"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from omop_inc.errors import SnapshotRefusedError
from omop_inc.runs.snapshots import Kind, Request, apply_snapshot
from omop_inc.settings import Settings, load_settings
from omop_inc.telling.summary import Summary
from tests.comparing import Store, read_store
from tests.factories import World
from tests.worlds import write_snapshot

EXAMPLES = Path(__file__).parents[1] / "examples"
SESSIONS_WAIT_S = 20.0

# Of our own: a code of three targets in three domains, and one with a value.
_CONCEPTS = (
    (2000000001, "Sore throat in an ankle", "Condition", "SNOMED", "Clinical Finding", "", "900000001"),
    (2000000002, "Swab: detected", "Measurement", "LOINC", "Lab Test", "", "900000002"),
    (2000000003, "Swab: not detected", "Measurement", "SNOMED", "Lab Test", "", "900000002"),
)
_MAPS = (
    (2000000001, "Maps to", "28060"), (2000000001, "Maps to", "81151"), (2000000001, "Maps to", "4298490"),
    (2000000001, "Maps to", "4326177"), (2000000003, "Maps to", "706158"), (2000000003, "Maps to value", "4126681"),
)  # fmt: skip


def make_vocabulary(folder: Path) -> Path:
    """The example's vocabulary with a few codes of our own that have several targets and values."""
    shutil.copytree(EXAMPLES / "vocabulary", folder)
    with (folder / "CONCEPT.csv").open("a", encoding="utf-8") as file:
        file.writelines("\t".join(map(str, (*concept, "19700101", "20991231", ""))) + "\n" for concept in _CONCEPTS)
    with (folder / "CONCEPT_RELATIONSHIP.csv").open("a", encoding="utf-8") as file:
        file.writelines(f"{one}\t{target}\t{what}\t19700101\t20991231\t\n" for one, what, target in _MAPS)
    return folder


@dataclass
class Cdm:
    """One CDM schema of a database."""

    url: str
    state_dir: Path
    schema: str = "cdm"

    def settings(self, **settings: Any) -> Settings:
        """The settings of a run against this CDM."""
        return load_settings(**{"state_dir": self.state_dir, "database_url": self.url, "cdm_schema": self.schema, "workers": 2, **settings})

    def run(self, folder: Path, kind: Kind = "incremental", **settings: Any) -> Summary:
        """Apply a snapshot; any error is raised."""
        summary, error = apply_snapshot(Request(source=folder, kind=kind), self.settings(**settings))
        if error is not None:
            raise error
        return summary

    def run_allowed(self, folder: Path, kind: Kind = "incremental", **settings: Any) -> Summary:
        """Apply a snapshot, allowing it where a guard strikes: a file emptied is much in a tiny world."""
        try:
            return self.run(folder, kind, **settings)
        except SnapshotRefusedError as refused:
            return self.run(folder, kind, allow=refused.snapshot_digest, **settings)

    def run_in_turn(self, folder: Path, *worlds: World) -> Summary:
        """Apply snapshots in turn, allowing each, and prove the last against a rebuild."""
        for number, world in enumerate(worlds):
            summary = self.run_allowed(write_snapshot(folder / str(number), world))
        assert self.run(folder / str(number), "verify").status == "no_change"
        return summary

    def read(self) -> Store:
        """Everything that it holds."""
        return read_store(self.url, self.schema)

    def query(self, text: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Ask its database."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(text, parameters).fetchall()  # type: ignore[call-overload]

    def wait_alone(self) -> None:
        """Wait until no other session is left: a killed run's go on for a moment, and may still commit."""
        others = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        deadline = time.monotonic() + SESSIONS_WAIT_S
        with psycopg.connect(self.url, autocommit=True) as connection:
            while connection.execute(others).fetchone() != (0,):
                if time.monotonic() > deadline:
                    raise AssertionError(f"other sessions are still there after {SESSIONS_WAIT_S} s")
                time.sleep(0.02)

    def tuples_written(self) -> dict[str, int]:
        """Tuples written so far by table of the CDM, staging, state and quarantine, when all other sessions have reported."""
        self.wait_alone()
        schemas = [self.schema, *(f"{self.schema}_{part}" for part in ("staging", "state", "quarantine"))]
        query = "SELECT schemaname || '.' || relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables WHERE schemaname = ANY(%s)"
        return dict(self.query(query, schemas))
