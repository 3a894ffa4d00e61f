"""The vocabularies as the oracle reads them, and a database that holds the richer one.

Belongs here: fixtures of the oracle's tests. Does not: the server (tests/conftest.py).
"""

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from omop_inc.cdm.vocabulary import load_vocabulary
from tests.conftest import TestServer, _create, _database_url, _drop
from tests.oracle.concepts import Vocabulary, read_vocabulary
from tests.stores import make_vocabulary

# A list of facts that users edit, not code: units as Synthea writes them, and their UCUM codes.
UNIT_MAP = Path(__file__).parents[2] / "omop_inc" / "cdm" / "units.csv"
# Codes that the mapping names and the example's vocabulary lacks, with concepts of our own: their rules would otherwise only give 0.
MORE_CONCEPTS = (
    ("Digital radiography", "Procedure", "DICOM", "DX"), ("Computed tomography", "Procedure", "DICOM", "CT"),
    ("Medicare", "Payer", "SOPT", "1"), ("Private", "Payer", "SOPT", "5"), ("No payment", "Payer", "SOPT", "81"),
    ("Cardiology", "Provider", "Medicare Specialty", "6"), ("Allergy to drug", "Observation", "SNOMED", "416098002"),
    ("Mild", "Meas Value", "SNOMED", "255604002"), ("Moderate", "Meas Value", "SNOMED", "6736007"),
    ("Severe", "Meas Value", "SNOMED", "24484000"), ("Blood specimen", "Specimen", "SNOMED", "119297000"),
    ("ampere", "Unit", "UCUM", "A"), ("megagram", "Unit", "UCUM", "Mg"),
)  # fmt: skip
FIRST_OF_MORE = 2000000100
# Concept 0, and a code of our own whose only target is not there.
KNOWN_TO_BARE = ("0\t", "2000000003\t")


def make_rich_vocabulary(folder: Path) -> Path:
    """The tests' vocabulary with all codes that the mapping names."""
    make_vocabulary(folder)
    with (folder / "CONCEPT.csv").open("a", encoding="utf-8") as file:
        for number, (name, domain, vocabulary, code) in enumerate(MORE_CONCEPTS, FIRST_OF_MORE):
            file.write("\t".join((str(number), name, domain, vocabulary, "Undefined", "S", code, "19700101", "20991231", "")) + "\n")
    with (folder / "CONCEPT_RELATIONSHIP.csv").open("a", encoding="utf-8") as file:
        for number in range(FIRST_OF_MORE, FIRST_OF_MORE + len(MORE_CONCEPTS)):
            file.write(f"{number}\t{number}\tMaps to\t19700101\t20991231\t\n")
    return folder


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    """The vocabulary that the `cdm` fixture's database holds."""
    return read_vocabulary(make_vocabulary(tmp_path_factory.mktemp("oracle") / "vocabulary"), UNIT_MAP)


@pytest.fixture(scope="session")
def rich_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Athena's files of the richer vocabulary."""
    return make_rich_vocabulary(tmp_path_factory.mktemp("oracle") / "rich")


@pytest.fixture(scope="session")
def rich_vocabulary(rich_folder: Path) -> Vocabulary:
    """The same as the oracle reads it."""
    return read_vocabulary(rich_folder, UNIT_MAP)


def make_bare_vocabulary(folder: Path) -> Path:
    """A vocabulary that is next to empty: neither the fixed concepts of the mapping nor any code of the files."""
    make_vocabulary(folder)
    for file in folder.glob("*.csv"):
        header, *rows = file.read_text(encoding="utf-8").splitlines(keepends=True)
        is_kept = file.name in ("VOCABULARY.csv", "DOMAIN.csv", "CONCEPT_CLASS.csv", "RELATIONSHIP.csv")
        kept = rows if is_kept else [row for row in rows if row.startswith(KNOWN_TO_BARE)]
        file.write_text("".join([header, *kept]), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def rich_template(server: TestServer, rich_folder: Path) -> Iterator[str]:
    """Name of a database that holds it, to be copied."""
    name = f"test_{uuid.uuid4().hex}"
    _create(server, name, "template1")
    with psycopg.connect(_database_url(server, name)) as connection:
        load_vocabulary(connection, rich_folder, "vocab")
    yield name
    _drop(server, name)
