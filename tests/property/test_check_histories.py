"""The kept counts of the checks equal a full check, over histories of snapshots that Hypothesis draws.

A few fixed examples run by default; OMOP_INC_TEST_HISTORIES=500 draws so many new ones.
"""

import os
from itertools import count
from pathlib import Path

from hypothesis import HealthCheck, given, settings

from tests.conftest import CreateDatabase
from tests.property.test_histories import CHOSEN, HISTORIES, Step
from tests.quality import disagreements
from tests.stores import Cdm
from tests.worlds import History, first_world, write_snapshot

EXAMPLES = int(os.environ.get("OMOP_INC_TEST_HISTORIES", "0"))
BY_DEFAULT = 4
NUMBERS = count()


def play(create: CreateDatabase, template: str, folder: Path, people: int, steps: list[Step]) -> None:
    """Apply a history's snapshots; after each the counts that the runs have kept are those of a full check."""
    place = folder / str(next(NUMBERS))
    cdm, history = Cdm(create(template=template), place / "state"), History(first_world(people))
    for number, step in enumerate(steps):
        written = write_snapshot(place / f"snapshot{number}", history.step(step.changes), step.writing, old=True)
        cdm.run_allowed(written, step.kind)
        assert disagreements(cdm) == []


def test_chosen_histories(create_database: CreateDatabase, vocabulary_template: str, tmp_path: Path) -> None:
    for people, steps in CHOSEN.values():
        play(create_database, vocabulary_template, tmp_path, people, steps)


@settings(
    max_examples=EXAMPLES or BY_DEFAULT,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)
@given(history=HISTORIES)
def test_kept_counts_equal_a_full_check_after_every_step(
    create_database: CreateDatabase, vocabulary_template: str, tmp_path: Path, history: tuple[int, list[Step]]
) -> None:
    play(create_database, vocabulary_template, tmp_path, *history)
