"""The real exports: what is loaded of them is what the oracle derives, ma100's three dates one after another."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from omop_inc.cdm.vocabulary import load_vocabulary
from tests.conftest import CreateDatabase
from tests.oracle.cdm import derive
from tests.oracle.concepts import Vocabulary, read_vocabulary
from tests.oracle.conftest import UNIT_MAP
from tests.oracle.database import derived_lines, disagreements, read_cdm
from tests.stores import Cdm

pytestmark = [pytest.mark.workshop, pytest.mark.slow]

GENERATIONS = ("v27_113p", "v30_27p", "v30_59p", "v33_11p")
DATES = ("20240501", "20240502", "20240531")


@pytest.fixture(scope="module")
def whole_vocabulary(workshop: Path) -> Vocabulary:
    """The vocabulary that the real exports were gathered with."""
    return read_vocabulary(workshop / "vocabulary", UNIT_MAP)


@pytest.fixture
def whole_cdm(create_database: CreateDatabase, workshop: Path, tmp_path: Path) -> Iterator[Cdm]:
    """An empty CDM in a database that holds that vocabulary."""
    url = create_database()
    with psycopg.connect(url) as connection:
        load_vocabulary(connection, workshop / "vocabulary", "vocab")
    yield Cdm(url, tmp_path / "state")


def check(cdm: Cdm, folder: Path, vocabulary: Vocabulary) -> None:
    """Apply a folder and ask the oracle."""
    assert cdm.run(folder).status == "applied"
    found = disagreements(derived_lines(derive(folder, vocabulary)), read_cdm(cdm.url, cdm.schema))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", GENERATIONS)
def test_real_export_is_as_the_oracle_says(whole_cdm: Cdm, workshop: Path, whole_vocabulary: Vocabulary, name: str) -> None:
    check(whole_cdm, workshop / "synthea" / name, whole_vocabulary)


def test_three_real_dates_are_as_the_oracle_says_after_each(whole_cdm: Cdm, workshop: Path, whole_vocabulary: Vocabulary) -> None:
    for date in DATES:
        check(whole_cdm, workshop / "synthea" / "ma100" / date, whole_vocabulary)
