"""The table of cuts against the SQL: every source text that a transform cuts is counted, at the length of its narrowest column."""

import re

from omop_inc.cdm.cut_texts import CUT_AT
from omop_inc.cdm.transforms import transforms, views
from omop_inc.source.tables import SOURCE_TABLES

# What the SQL cuts under a name of its own, with the source columns that stand behind it.
BEHIND = {
    "value_text": {"observations.value"},
    "severity": {"allergies.severity1", "allergies.severity2"},
    "first_memberid": {"payer_transitions.memberid"},
    "description": {"allergies.description1", "allergies.description2"},
    "reaction.code": {"allergies.reaction1", "allergies.reaction2"},
}
# Labels put together, and texts that are no source's.
OWN_TEXTS = {"address_1", "state", "tool_version", "vocabulary_version", "value_as_string"}


def cuts() -> list[tuple[str, str, int]]:
    """(alias, column, length) of every left() in the SQL."""
    found = []
    for file in (*transforms().values(), *views().values()):
        text = re.sub(r"--[^\n]*", "", file.text)
        for inner, length in re.findall(r"\bleft\((.*?), (\d+)\)(?:\s+AS\b|\s*$|,)", text, re.MULTILINE):
            for alias, column in re.findall(r"(?:(\w+)\.)?\b([a-z_]\w*)\b(?!\s*\()", re.sub(r"'[^']*'", "", inner)):
                if column not in ("FROM", "coalesce"):
                    found.append((alias, column, int(length)))
    return found


def test_the_sql_is_read() -> None:
    assert len(cuts()) > 40


def test_every_cut_column_is_counted() -> None:
    counted = {f"{table}.{column}" for table, columns in CUT_AT.items() for column in columns}
    known = {column.split(".")[1] for column in counted} | OWN_TEXTS | {name.split(".")[-1] for name in BEHIND}
    assert sorted({column for _, column, _ in cuts()} - known) == []
    assert all(columns <= counted for columns in BEHIND.values())


def test_every_counted_column_is_staged_and_cut_at_that_length() -> None:
    lengths: dict[str, set[int]] = {}
    for _, column, length in cuts():
        lengths.setdefault(column, set()).add(length)
    behind = {column: name.split(".")[-1] for name, columns in BEHIND.items() for column in columns}
    for table, columns in CUT_AT.items():
        assert set(columns) <= set(SOURCE_TABLES[table].staged), table
        for column, limit in columns.items():
            assert limit in lengths[behind.get(f"{table}.{column}", column)], f"{table}.{column}"


def test_tables_that_are_not_counted_give_the_cdm_no_text() -> None:
    assert set(SOURCE_TABLES) - set(CUT_AT) == {"claims", "claims_transactions"}
