"""Incremental equals full, over histories of snapshots that Hypothesis draws.

A few fixed examples run by default; OMOP_INC_TEST_HISTORIES=500 draws so many new ones. A failing history is printed as a value:
paste it into CHOSEN, which always runs.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omop_inc.runs.snapshots import Kind
from tests.comparing import IdHistory, dangling_ids, differences, exact_differences, id_collisions
from tests.conftest import CreateDatabase
from tests.stores import Cdm
from tests.worlds import KINDS, TABLES, Change, History, first_world, write_snapshot

EXAMPLES = int(os.environ.get("OMOP_INC_TEST_HISTORIES", "0"))
BY_DEFAULT = 8


class Step(NamedTuple):
    """The changes that lead to a snapshot, the seed of the way its files are written, and how it is applied."""

    changes: Sequence[Change]
    writing: int = 0
    kind: Kind = "incremental"


# Histories that failed once or that the design names.
CHOSEN: dict[str, tuple[int, list[Step]]] = {
    "a study's rows that differ in a column without meaning": (
        1,
        [
            Step([]),
            Step([Change("insert", "imaging_studies", 0, 2, 0), Change("update", "imaging_studies", 1, 10, 1)]),
            Step([Change("update", "imaging_studies", 0, 10, 2)]),
        ],
    ),
    "A, B, A": (2, [Step([]), Step([Change("leave", row=0), Change("update", "encounters", 0, 7, 1)]), Step([Change("back")])]),
    "a person whose Id is there twice and then once": (
        2,
        [Step([]), Step([Change("repeat_id", column=3, value=2)], 3), Step([Change("delete", "patients", 0)], 4)],
    ),
    "a reload that meets new rows, and rows that come after it": (
        1,
        [
            Step([]),
            Step([Change("arrive", row=2), Change("update", "patients", 0, 18, 1)], kind="full_reload"),
            Step([Change("arrive", row=1), Change("delete", "conditions")]),
            Step([Change("restore"), Change("leave")], 2, "full_reload"),
        ],
    ),
    "late parents": (
        2,
        [
            Step([Change("delete", "patients", 0), Change("delete", "encounters", 1), Change("delete", "claims", 1)]),
            Step([Change("restore"), Change("restore")]),
            Step([Change("restore")], 5),
        ],
    ),
    "an emptied file that comes back": (1, [Step([]), Step([Change("empty", "encounters")], 7), Step([Change("back")], 8)]),
    "identical rows come and go": (
        1,
        [
            Step([Change("double", table) for table in ("conditions", "patients", "procedures", "providers", "claims_transactions")]),
            Step([Change("delete", table) for table in ("conditions", "patients", "procedures", "providers", "claims_transactions")]),
            Step([Change("double", table) for table in ("conditions", "patients", "observations")] * 2, 9),
        ],
    ),
}  # fmt: skip

CHANGES = st.builds(
    Change,
    kind=st.sampled_from(KINDS),
    table=st.sampled_from(TABLES),
    row=st.integers(0, 9),
    column=st.integers(0, 40),
    value=st.integers(0, 400),
)
HOW: st.SearchStrategy[Kind] = st.sampled_from(["incremental", "incremental", "incremental", "full_reload"])
STEPS = st.builds(Step, st.lists(CHANGES, min_size=1, max_size=6), st.integers(0, 99), HOW)
HISTORIES = st.tuples(st.integers(0, 4), st.lists(STEPS, min_size=2, max_size=6))


@pytest.fixture
def laboratory(create_database: CreateDatabase, vocabulary_template: str, tmp_path: Path) -> "Laboratory":
    return Laboratory(create_database, vocabulary_template, tmp_path)


class Laboratory:
    """Plays histories, each in a database of its own."""

    def __init__(self, create_database: CreateDatabase, template: str, folder: Path) -> None:
        self._create, self._template, self._folder = create_database, template, folder
        self._numbers = count()

    def play(self, people: int, steps: Sequence[Step]) -> None:
        """Apply a history's snapshots; after each the CDM is that of a first load, in the end also that of a reload."""
        folder = self._folder / str(next(self._numbers))
        url = self._create(template=self._template)
        cdm, history, ids = Cdm(url, self._folder / "state"), History(first_world(people)), IdHistory()
        for number, step in enumerate(steps):
            written = write_snapshot(folder / f"snapshot{number}", history.step(step.changes), step.writing, old=True)
            apply_and_compare(cdm, Cdm(url, cdm.state_dir, f"fresh{number}"), written, ids, step.kind)
        check_rest(cdm, written)


def apply_and_compare(cdm: Cdm, fresh: Cdm, snapshot: Path, ids: IdHistory, kind: Kind) -> None:
    """Apply a snapshot to a maintained CDM and to an empty one; they must hold the same, every row with a fate, ids kept."""
    kept, first = cdm.run_allowed(snapshot, kind), fresh.run(snapshot)
    maintained = cdm.read()
    assert differences(maintained, fresh.read()) == []
    assert dangling_ids(maintained) == []
    assert id_collisions(maintained) == []
    assert ids.check(maintained) == []
    for table, counts in kept.source_tables.items():
        assert counts.adds_up, (table, asdict(counts))
        expected = first.source_tables[table]
        assert (counts.read, counts.quarantined, counts.pending) == (expected.read, expected.quarantined, expected.pending), table


def check_rest(cdm: Cdm, snapshot: Path) -> None:
    """The same snapshot again writes nothing, and a full reload of it changes nothing."""
    before, written = cdm.read(), cdm.tuples_written()
    assert cdm.run(snapshot).status == "no_change"
    assert cdm.tuples_written() == written
    reload = cdm.run_allowed(snapshot, "full_reload")
    assert {table: c for table, c in reload.cdm_tables.items() if c["inserted"] or c["deleted"]} == {}
    assert exact_differences(before, cdm.read()) == []


@pytest.mark.parametrize("name", CHOSEN)
def test_chosen_history(laboratory: Laboratory, name: str) -> None:
    laboratory.play(*CHOSEN[name])


@settings(
    max_examples=EXAMPLES or BY_DEFAULT,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)
@given(history=HISTORIES)
def test_incremental_equals_full_after_every_step(laboratory: Laboratory, history: tuple[int, list[Step]]) -> None:
    laboratory.play(*history)
