"""The spellings of units that UCUM does not know: the shipped list, and the user's own file before it.

Belongs here: reading and checking the two lists, their digest. Does not: finding the concepts (code_map.py, sql/query/resolve_units.sql).
"""

import csv
import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from omop_inc.errors import SettingsError

HEADER = ("unit_source_value", "ucum_code")
FORM = f"Expected UTF-8, the header '{','.join(HEADER)}' and one unit a line; an empty code leaves the unit unmapped"


@dataclass(frozen=True, kw_only=True)
class UnitAlias:
    """One spelling of a unit."""

    place: int  # in its file; of several lines for one spelling the first whose code exists counts
    unit_source_value: str
    ucum_code: str | None  # None: what the spelling names is no unit
    is_own: bool  # of the user's file, which stands before UCUM itself


def unit_aliases(own: Path | None = None) -> list[UnitAlias]:
    """Both lists, each in its file's order.

    Args:
        own: The user's file.

    Raises:
        SettingsError: If the user's file cannot be read as what it should be.
    """
    return [*_parse(_shipped(), is_own=False), *(_parse(_read_own(own), is_own=True) if own else [])]


def units_digest(own: Path | None = None) -> str:
    """A digest of what the lists say: a run under another one transforms everything anew."""
    text = _shipped() + (f"\0{_read_own(own)}" if own else "")
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _shipped() -> str:
    return resources.files("omop_inc").joinpath("cdm", "units.csv").read_text(encoding="utf-8")


def _read_own(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingsError(f"OMOP_INC_UNITS: '{path}' cannot be read ({type(error).__name__}). {FORM}.") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"OMOP_INC_UNITS: '{path}' is not UTF-8. {FORM}.") from error


def _parse(text: str, *, is_own: bool) -> list[UnitAlias]:
    lines = list(csv.reader(text.splitlines()))
    if not lines or tuple(lines[0]) != HEADER:
        raise SettingsError(f"OMOP_INC_UNITS: the file's first line is another one. {FORM}.")
    found = []
    for number, fields in enumerate(lines[1:], start=2):
        if not fields:
            continue
        if len(fields) != len(HEADER) or not fields[0]:
            raise SettingsError(f"OMOP_INC_UNITS: line {number}: expected a unit and its code but got {len(fields)} fields. {FORM}.")
        found.append(UnitAlias(place=number, unit_source_value=fields[0], ucum_code=fields[1] or None, is_own=is_own))
    return found
