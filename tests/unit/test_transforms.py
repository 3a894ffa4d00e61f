"""The headers of sql/transform and sql/view agree with their SQL, and the SQL keeps the rules that make it deterministic."""

import re
from graphlib import TopologicalSorter

import pytest

from omop_inc.cdm.spec import cdm_tables
from omop_inc.cdm.transforms import SqlFile, all_reads, code_views, transforms, view_order, views, waits
from omop_inc.source.tables import SOURCE_TABLES

LOOKUPS = frozenset({"code_map", "unit_map", "answer_map", "fixed_concept", "run_parameter", "content_id", "new_content_id"})
VOCABULARY = frozenset({"concept", "concept_relationship", "concept_ancestor", "drug_strength", "vocabulary"})
FILES = [*transforms().values(), *views().values()]
IDS = [*(f"transform/{name}" for name in transforms()), *(f"view/{name}" for name in views())]

every_file = pytest.mark.parametrize("file", FILES, ids=IDS)


def statement(file: SqlFile) -> str:
    """The SQL without comments and without what is in quotes."""
    return re.sub(r"'[^']*'", "''", re.sub(r"--[^\n]*", "", file.text))


def named_relations(text: str) -> set[str]:
    """What FROM and JOIN name: tables, views, and the file's own CTEs and temporary tables left out."""
    text = re.sub(r"\bDISTINCT FROM\b|\bextract\s*\([^()]*\)|\bsubstring\s*\([^()]*\)", " ", text)
    own = set(re.findall(r"\b(\w+)\s*(?:\([\w\s,]*\))?\s+AS\s+(?:MATERIALIZED\s+)?\(", text)) | set(re.findall(r"CREATE TEMP TABLE (\w+)", text))
    return set(re.findall(r"\b(?:FROM|JOIN|USING)\s+(?:ONLY\s+)?([a-z_]\w*)", text)) - own


def unnested(text: str, opening: int) -> str:
    """What stands in the parentheses that open at a place."""
    depth = 0
    for at in range(opening, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return text[opening + 1 : at]
    raise AssertionError("unbalanced parentheses")


@every_file
def test_header_names_every_relation_that_the_text_reads(file: SqlFile) -> None:
    assert named_relations(statement(file)) - LOOKUPS - VOCABULARY == set(file.reads)


@every_file
def test_every_declared_column_exists_and_occurs(file: SqlFile) -> None:
    words = set(re.findall(r"\w+", statement(file)))
    for table, columns in file.source_reads.items():
        assert set(columns) <= set(SOURCE_TABLES[table].staged), table
        assert set(columns) <= words, table
    for table, columns in file.cdm_reads.items():
        assert set(columns) <= {*cdm_tables()[table].columns, "person_id"}, table
        assert set(columns) <= words, table


@every_file
def test_a_table_is_declared_with_columns_and_a_view_without(file: SqlFile) -> None:
    assert all(not file.reads[view] for view in file.view_reads)
    # row_id is implied: a table may be read for it alone
    assert all(columns for columns in file.cdm_reads.values())


@every_file
def test_no_text_names_a_volatile_column(file: SqlFile) -> None:
    volatile = {column.staged for table in SOURCE_TABLES.values() for column in table.columns if column.volatile}
    significant = {name for table in SOURCE_TABLES.values() for name in table.staged}
    assert set(re.findall(r"\w+", statement(file))) & (volatile - significant - set(SOURCE_TABLES)) == set()


@every_file
def test_every_window_and_distinct_on_is_ordered(file: SqlFile) -> None:
    text = statement(file)
    windows = [unnested(text, found.end() - 1) for found in re.finditer(r"\b(?:OVER|\w+ AS)\s*\((?=\s*(?:PARTITION|ORDER))", text)]
    assert len(windows) >= len(re.findall(r"\bOVER\s*\(", text))
    # a plain aggregate over a whole partition has no order to depend on
    unordered = [window for window in windows if "ORDER BY" not in window]
    aggregates = re.findall(r"\b(?:min|max|count|sum)\([\w.*]*\)\s+OVER\s*\(PARTITION BY [\w., ]+\)", text)
    assert len(unordered) == len(aggregates)
    for found in re.finditer(r"\bDISTINCT ON\s*\(", text):
        keys = [re.sub(r"\s+", "", key) for key in split_list(unnested(text, found.end() - 1))]
        ordered = re.search(r"\bORDER BY\s+(.*?)(?=\n\)|;|\Z)", text[found.end() :], re.DOTALL)
        assert ordered is not None
        by = [re.sub(r"\s+|\b(?:ASC|DESC)\b", "", key) for key in split_list(ordered[1])]
        assert by[: len(keys)] == keys and len(by) > len(keys)


@every_file
def test_every_array_agg_and_string_agg_is_ordered(file: SqlFile) -> None:
    text = statement(file)
    found = [unnested(text, match.end() - 1) for match in re.finditer(r"\b(?:array_agg|string_agg)\s*\(", text)]
    assert all("ORDER BY" in one for one in found)


@every_file
def test_nothing_depends_on_the_time_or_on_chance(file: SqlFile) -> None:
    assert re.findall(r"(?i)\b(now|random|clock_timestamp|gen_random_uuid|current_\w+|localtime\w*|timeofday|setseed)\b", statement(file)) == []


@every_file
def test_no_inner_join_loses_unmapped_rows(file: SqlFile) -> None:
    # Lists of concepts may be joined inside a CTE about concepts; a row of a person never is.
    joined = set(re.findall(r"\bINNER JOIN\s+(\w+)", statement(file)))
    assert joined.isdisjoint({"code_map", "unit_map", "answer_map", "fixed_concept"})
    if file.name not in ("provider", "drug_era", "dose_era"):
        assert joined.isdisjoint(VOCABULARY)


@every_file
def test_no_join_is_implicit(file: SqlFile) -> None:
    assert re.findall(r"(?<!INNER )(?<!LEFT )(?<!FULL )(?<!CROSS )\bJOIN\b", statement(file)) == []


@pytest.mark.parametrize("name", sorted(transforms()))
def test_transform_writes_its_own_table_with_columns_of_the_specification(name: str) -> None:
    text = statement(transforms()[name])
    written = re.findall(r"INSERT INTO (\w+) \(([^)]*)\)", text)
    targets = {table for table, _ in written}
    temporary = set(re.findall(r"CREATE TEMP TABLE (\w+)", text))
    assert targets - temporary - {"new_content_id"} == {name}
    known = {*cdm_tables()[name].columns, "person_id"}  # two tables of the specification have no person; ours keeps it beside
    for table, columns in written:
        if table == name:
            listed = [column.strip() for column in columns.split(",")]
            assert len(set(listed)) == len(listed)
            assert set(listed) <= known
            required = {field.name for field in cdm_tables()[name].fields if field.is_required}
            assert required <= set(listed)


@pytest.mark.parametrize("name", sorted(transforms()))
def test_transform_drops_its_temporary_tables(name: str) -> None:
    text = statement(transforms()[name])
    assert len(re.findall(r"CREATE TEMP TABLE", text)) == len(re.findall(r"CREATE TEMP TABLE \w+ ON COMMIT DROP AS", text))


def test_every_transform_waits_for_those_whose_output_it_reads_and_they_never_for_it() -> None:
    assert waits().keys() == transforms().keys()
    order = list(TopologicalSorter(waits()).static_order())  # a circle is an error
    for name, transform in transforms().items():
        for table in all_reads(transform)[1]:
            assert order.index(table) < order.index(name), (name, table)


def test_views_are_created_after_the_views_that_they_read() -> None:
    order = view_order()
    assert sorted(order) == sorted(views())
    assert all(order.index(read) < order.index(name) for name, view in views().items() for read in view.view_reads)


def test_views_of_codes_read_no_lookup() -> None:
    for view in code_views():
        assert named_relations(statement(view)).isdisjoint(LOOKUPS)


def test_every_source_table_is_read() -> None:
    read = {table for file in FILES for table in file.source_reads}
    assert read == set(SOURCE_TABLES)


def split_list(text: str) -> list[str]:
    """The parts of a list, by the commas that stand in no parentheses."""
    parts, depth = [""], 0
    for letter in text:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
