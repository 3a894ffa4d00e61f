"""What ids stand for: the source row that a CDM row carries on, or the content of the CDM row.

Belongs here: names for source rows and CDM rows, the same whether they come from the files or from the database. Does not: comparing.
"""

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.oracle.source import SourceRow

# Rows of these are known by their Id.
HAVE_ID = ("patients", "encounters", "providers", "organizations", "careplans")

Record = dict[str, Any]


def plain(value: Any) -> Any:
    """A value as it is compared: numbers without trailing zeros, ids and moments as text."""
    said = _PLAIN.get(value.__class__, str)
    return said(value)


def number_text(number: Decimal) -> str:
    """A number without trailing zeros, without an exponent."""
    return format(number.normalize() + 0, "f")


_PLAIN: dict[type, Callable[[Any], Any]] = {
    type(None): lambda value: value,
    bool: lambda value: value,
    str: lambda value: value,
    int: str,
    Decimal: number_text,
    datetime: lambda value: value.replace(tzinfo=None).isoformat(" "),
    date: date.isoformat,
}


def row_label(table: str, values: dict[str, Any]) -> str:
    """The name of a source row: its Id, or its content."""
    if table in HAVE_ID:
        return f"{table} {values['id']}"
    return f"{table} " + "|".join([value if value.__class__ is str else str(plain(value)) for value in values.values()])


def label(row: "SourceRow") -> str:
    """The name of a source row of the files."""
    return row.label


def content_label(record: Record, table: str) -> str:
    """The name of a CDM row that no source row gives an id: all that it says but its id."""
    said = (f"{name}={plain(value)}" for name, value in sorted(record.items()) if value is not None and name != f"{table}_id")
    return f"{table} " + "|".join(said)


def cut(text: str | None, length: int) -> str | None:
    """Text as a CDM column of that length holds it."""
    return text if text is None else text[:length]
