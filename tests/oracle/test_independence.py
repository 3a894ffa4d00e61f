"""The oracle is a second opinion only while it shares nothing with the package."""

import ast
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# What derives: all but the tests, the fixtures and the drawing of people, which write files for both.
DERIVING = sorted(path for path in HERE.glob("*.py") if not path.name.startswith("test_") and path.name not in ("conftest.py", "crowd.py"))
ALLOWED = {
    "ast", "collections", "csv", "dataclasses", "datetime", "decimal", "functools", "gzip", "io", "pathlib", "re", "typing", "uuid",
}  # fmt: skip
# The one module that reads the database may talk to it.
DATABASE = {"database.py": {"psycopg"}}


def imported(path: Path) -> set[str]:
    """The modules that a file imports, those of the oracle aside."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or ".")
    return {name for name in found if not name.startswith("tests.oracle.")}


def test_every_theme_is_looked_at() -> None:
    names = {path.stem for path in DERIVING}
    assert {"source", "fates", "concepts", "people", "visits", "events", "allergies", "imaging", "costs", "periods", "eras", "links", "cdm"} <= names


@pytest.mark.parametrize("path", DERIVING, ids=lambda path: path.name)
def test_the_oracle_imports_the_standard_library_and_itself_alone(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported(path)}
    assert roots <= ALLOWED | DATABASE.get(path.name, set())


@pytest.mark.parametrize("path", DERIVING, ids=lambda path: path.name)
def test_the_oracle_runs_no_sql_of_the_project(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "omop_inc." not in text and "import omop_inc" not in text
    assert ".sql" not in text.replace("sql.SQL", "").replace("psycopg.sql", "")
    assert "__import__" not in text and "importlib" not in text
