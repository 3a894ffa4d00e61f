"""The files that are not Python: the SQL and the examples.

Belongs here: finding and reading them in a checkout and in an installed wheel alike. Does not: what they mean.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def sql_dir() -> Path:
    """The folder that holds ddl/, transform/, view/, check/ and query/."""
    return _find("sql")


def examples_dir() -> Path:
    """The folder of the demo's snapshots and their small vocabulary."""
    return _find("examples")


def read_sql(path: str) -> str:
    """The text of one SQL file, named from the SQL folder."""
    return (sql_dir() / path).read_text(encoding="utf-8")


def list_sql(folder: str) -> list[str]:
    """The names, without .sql, of the files of one folder of the SQL, sorted."""
    return sorted(path.stem for path in (sql_dir() / folder).glob("*.sql"))


def _find(name: str) -> Path:
    """An installed wheel carries the folder inside the package; a checkout has it beside the package."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name
