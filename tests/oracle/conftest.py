"""The vocabulary as the oracle reads it.

Belongs here: fixtures of the oracle's tests. Does not: the database (tests/conftest.py).
"""

from pathlib import Path

import pytest

from tests.oracle.concepts import Vocabulary, read_vocabulary
from tests.stores import make_vocabulary

# A list of facts that users edit, not code: units as Synthea writes them, and their UCUM codes.
UNIT_MAP = Path(__file__).parents[2] / "omop_inc" / "cdm" / "units.csv"


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    """The vocabulary that the `cdm` fixture's database holds."""
    return read_vocabulary(make_vocabulary(tmp_path_factory.mktemp("oracle") / "vocabulary"), UNIT_MAP)
