"""docs/mapping/rules.md against the files: what it names exists, and it leaves no table and no case out."""

import ast
import re
from pathlib import Path

import pytest

from omop_inc.cdm.transforms import transforms, views

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT / "tests" / "sql"
PAGE = (ROOT / "docs" / "mapping" / "rules.md").read_text(encoding="utf-8")
ROWS = [tuple(cell.strip() for cell in line.strip("| ").split(" | ")) for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line]
RULES = [row for row in ROWS if row[0] != "rule"]
# Cases that every table has and that tell of increments, not of a rule.
OF_INCREMENTS = {"empty_delta", "changed_row", "removed_row"}


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def listed_tests(rule: tuple[str, ...]) -> list[str]:
    return named(rule[2])


def test_every_rule_has_its_place_and_its_tests() -> None:
    assert len(RULES) > 60
    assert [rule for rule in RULES if len(rule) != 3 or not listed_tests(rule)] == []
    assert [rule[0] for rule in RULES if not named(rule[1]) and rule[1] != "each transform"] == []


def test_every_place_exists() -> None:
    places = {place for rule in RULES for place in named(rule[1])}
    missing = [place for place in places if not (ROOT / (place if place.startswith("omop_inc") else f"sql/{place}")).is_file()]
    assert sorted(missing) == []


@pytest.mark.parametrize("test", sorted({test for rule in RULES for test in listed_tests(rule)}))
def test_every_test_exists(test: str) -> None:
    path, _, function = test.partition("::")
    if not function:
        assert (CASES / path / "expect.csv").is_file()
        return
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_cdm_table_has_rules_and_every_sql_file_is_a_place() -> None:
    tables = {test.split("/")[0] for rule in RULES for test in listed_tests(rule) if "::" not in test}
    assert set(transforms()) - tables == set()
    headed = {rule[0].split(":")[0] for rule in RULES}
    assert [name for name in transforms() if not any(name in head for head in headed)] == []
    places = " ".join(rule[1] for rule in RULES)
    assert [name for name in transforms() if f"`transform/{name}.sql`" not in places] == []
    assert [name for name in views() if f"`view/{name}.sql`" not in places] == ["code_in_use"]  # collects codes, decides nothing


def test_every_case_of_a_rule_is_named() -> None:
    cases = {f"{path.parent.parent.name}/{path.parent.name}" for path in CASES.glob("*/*/expect.csv")}
    rules = {case for case in cases if case.split("/")[1] not in OF_INCREMENTS}
    named_here = {test for rule in RULES for test in listed_tests(rule)}
    assert sorted(rules - named_here) == []
