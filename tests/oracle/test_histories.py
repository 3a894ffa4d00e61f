"""Generated histories: after every snapshot the database holds what the oracle derives from that snapshot alone.

A few fixed examples run by default; OMOP_INC_TEST_HISTORIES=500 draws so many new ones. A failing example is printed as a value:
paste it into CHOSEN_NUMBERS or CHOSEN_CHANGES, which always run.
"""

import os
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omop_inc.cdm.vocabulary import load_vocabulary
from tests.conftest import CreateDatabase
from tests.factories import World
from tests.oracle.cdm import derive
from tests.oracle.concepts import Vocabulary, read_vocabulary
from tests.oracle.conftest import UNIT_MAP, make_bare_vocabulary
from tests.oracle.crowd import crowd
from tests.oracle.database import derived_lines, disagreements, read_cdm
from tests.stores import Cdm
from tests.worlds import KINDS, TABLES, Change, History, write_snapshot

EXAMPLES = int(os.environ.get("OMOP_INC_TEST_HISTORIES", "0"))
BY_DEFAULT = 3
PEOPLE = 30
MOST_NUMBERS = 10**6

# People whom the SQL and the oracle saw otherwise once: number and what it was about.
CHOSEN_NUMBERS: dict[str, list[int]] = {"the first sixty": list(range(60)), "equal charges to person and payer": [127]}
# Changes of four people that put rows aside and bring them back.
CHOSEN_CHANGES: dict[str, list[list[Change]]] = {
    "an encounter leaves and comes back": [[Change("delete", "encounters", 1)], [Change("restore")]],
    "a patient is there twice": [[Change("repeat_id", column=3, value=2)], [Change("delete", "patients", 0)]],
    "a claim cannot be read": [[Change("bad", "claims", 0, 1), Change("bad", "procedures", 1, 0)], [Change("back")]],
}

NUMBERS = st.lists(st.integers(0, MOST_NUMBERS), min_size=1, max_size=PEOPLE)
CHANGES = st.builds(
    Change,
    kind=st.sampled_from(KINDS),
    table=st.sampled_from(TABLES),
    row=st.integers(0, 99),
    column=st.integers(0, 40),
    value=st.integers(0, 400),
)
STEPS = st.lists(st.lists(CHANGES, min_size=1, max_size=12), min_size=1, max_size=4)
HOW = settings(
    max_examples=EXAMPLES or BY_DEFAULT,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)


class Laboratory:
    """Plays snapshots one after another, each series in a database of its own, and asks the oracle after each."""

    def __init__(self, create_database: CreateDatabase, template: str, folder: Path, vocabulary: Vocabulary) -> None:
        self._create, self._template, self._folder, self._vocabulary = create_database, template, folder, vocabulary
        self._numbers = count()

    def play(self, worlds: Iterable[World], *, writing: int = 0) -> None:
        """Apply snapshots; the database must agree with the oracle after each."""
        folder = self._folder / str(next(self._numbers))
        cdm = Cdm(self._create(template=self._template), self._folder / "state")
        for number, world in enumerate(worlds):
            written = write_snapshot(folder / f"snapshot{number}", world, writing and writing + number, old=True)
            cdm.run_allowed(written)
            found = disagreements(derived_lines(derive(written, self._vocabulary)), read_cdm(cdm.url, cdm.schema))
            assert not found, "\n".join(found)


@pytest.fixture
def laboratory(create_database: CreateDatabase, rich_template: str, tmp_path: Path, rich_vocabulary: Vocabulary) -> Laboratory:
    return Laboratory(create_database, rich_template, tmp_path, rich_vocabulary)


@pytest.mark.parametrize("name", CHOSEN_NUMBERS)
def test_chosen_people_are_as_the_oracle_says(laboratory: Laboratory, name: str) -> None:
    numbers = CHOSEN_NUMBERS[name]
    laboratory.play([crowd(numbers), crowd([*numbers[1:], numbers[0]])])


@pytest.mark.parametrize("name", CHOSEN_CHANGES)
def test_chosen_changes_are_as_the_oracle_says(laboratory: Laboratory, name: str) -> None:
    history = History(crowd(range(4)))
    laboratory.play([history.step(changes) for changes in [[], *CHOSEN_CHANGES[name]]])


def test_people_under_a_bare_vocabulary_are_as_the_oracle_says(create_database: CreateDatabase, tmp_path: Path) -> None:
    """No row is lost for want of a concept, fixed or coded; each has 0 instead, in the table that its file says."""
    folder, url = make_bare_vocabulary(tmp_path / "bare"), create_database()
    with psycopg.connect(url) as connection:
        load_vocabulary(connection, folder, "vocab")
    written = write_snapshot(tmp_path / "snapshot", crowd(range(PEOPLE)))
    cdm = Cdm(url, tmp_path / "state")
    cdm.run_allowed(written, checks="warn")
    found = disagreements(derived_lines(derive(written, read_vocabulary(folder, UNIT_MAP))), read_cdm(cdm.url, cdm.schema))
    assert not found, "\n".join(found)


@HOW
@given(first=NUMBERS, second=NUMBERS)
def test_drawn_people_are_as_the_oracle_says(laboratory: Laboratory, first: Sequence[int], second: Sequence[int]) -> None:
    """Everybody is somebody else in the second snapshot, and as before in the third."""
    laboratory.play([crowd(first), crowd(second), crowd(first)])


@HOW
@given(numbers=st.lists(st.integers(0, MOST_NUMBERS), max_size=4), steps=STEPS, writing=st.integers(0, 99))
def test_drawn_changes_are_as_the_oracle_says(laboratory: Laboratory, numbers: Sequence[int], steps: list[list[Change]], writing: int) -> None:
    """Any column of any row takes any value, also those that put a row or its children aside."""
    history = History(crowd(numbers))
    laboratory.play([history.step(changes) for changes in [[], *steps]], writing=writing)
