"""The texts against the code: what the code names is in README.md, links lead somewhere, the map of the tree is true."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from omop_inc import __version__, errors
from omop_inc.cdm.concepts import FIXED_CONCEPTS
from omop_inc.cdm.spec import tables_of
from omop_inc.cdm.transforms import transforms
from omop_inc.cli import app
from omop_inc.settings import Settings
from omop_inc.source.tables import SOURCE_TABLES

ROOT = Path(__file__).parents[2]
NOT_OURS = {".venv", ".git", "state", "node_modules"}
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAPPING = ROOT / "docs" / "mapping"
# A text that names a folder of its author's machine helps nobody else.
OWN_PATHS = re.compile(r"/root/|/work/|/home/|/Users/|file://")


def _texts() -> list[Path]:
    found = [path for path in ROOT.rglob("*.md") if not any(part in NOT_OURS or part.startswith(".") for part in path.relative_to(ROOT).parts[:-1])]
    return sorted([*found, ROOT / "state" / "README.md"])


TEXTS = _texts()
IDS = [str(path.relative_to(ROOT)) for path in TEXTS]


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, command
    for child, one in getattr(command, "commands", {}).items():
        yield from _commands(one, f"{name} {child}".strip())


COMMANDS = dict(_commands(typer.main.get_command(app), ""))
OPTIONS = sorted({option for command in COMMANDS.values() for one in command.params for option in one.opts if option.startswith("--")})


def _is_flow(node: ast.AST) -> bool:
    decorators = getattr(node, "decorator_list", [])
    return any(isinstance(one, ast.Call) and getattr(one.func, "id", "") == "flow" for one in decorators)


def _flow_parameters() -> list[str]:
    """Read, not imported: importing Prefect takes seconds."""
    names = set()
    for file in (ROOT / "flows").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and _is_flow(node):
                names |= {one.arg for one in (*node.args.args, *node.args.kwonlyargs)}
    return sorted(names)


@pytest.mark.parametrize("setting", sorted(Settings.model_fields))
def test_readme_names_every_setting(setting: str) -> None:
    assert f"`OMOP_INC_{setting.upper()}`" in README


def test_readme_names_every_variable_that_the_code_reads() -> None:
    files = [*(ROOT / "omop_inc").rglob("*.py"), *(ROOT / "flows").rglob("*.py"), ROOT / "dev", ROOT / "prefect.yaml"]
    read = {name for file in files for name in re.findall(r"\bOMOP_INC_[A-Z]+(?:_[A-Z]+)*\b", file.read_text(encoding="utf-8"))}
    assert read
    assert sorted(name for name in read if name not in README) == []


@pytest.mark.parametrize("option", OPTIONS)
def test_readme_names_every_option(option: str) -> None:
    assert re.search(rf"`(omop-inc )?{option}`", README)


def test_readme_names_every_command() -> None:
    leaves = [name for name, command in COMMANDS.items() if not hasattr(command, "commands")]
    table = README.split("## Commands", 1)[1].split("###", 1)[0]
    assert leaves
    for name in leaves:
        assert all(re.search(rf"\b{word}\b", table) for word in name.split()), name


def test_readme_names_every_flow_parameter() -> None:
    parameters = _flow_parameters()
    assert parameters
    assert [name for name in parameters if f"`{name}`" not in README] == []


def test_readme_names_every_exit_code() -> None:
    table = README.split("### Exit codes", 1)[1].split("###", 1)[0]
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert {int(code) for code in re.findall(r"^\| (\d) \|", table, re.MULTILINE)} == codes


def _mapped_paths() -> Iterator[Path]:
    """The paths of the map: two blanks of indent a level; names, parted by commas, end where two blanks begin the words."""
    tree = README.split("## The tree", 1)[1].split("```", 2)[1]
    parents: list[Path] = []
    for line in filter(str.strip, tree.splitlines()):
        level = (len(line) - len(line.lstrip())) // 2
        names = [name.strip() for name in re.split(r"\s{2,}", line.strip())[0].split(",")]
        parents = [*parents[:level], Path(names[0])]
        yield from (Path(*parents[:level], name) for name in names)


def test_the_map_of_the_tree_is_true() -> None:
    paths = list(_mapped_paths())
    assert len(paths) > 50
    assert sorted(str(path) for path in paths if not (ROOT / path).exists()) == []


def test_the_map_of_the_tree_is_whole() -> None:
    mapped = set(_mapped_paths())
    modules = {file.relative_to(ROOT) for folder in ("omop_inc", "flows") for file in (ROOT / folder).rglob("*.py") if not file.name.startswith("__")}
    folders = {path.relative_to(ROOT) for path in (ROOT / "sql").iterdir() if path.is_dir()}
    assert sorted(map(str, (modules | folders) - mapped)) == []


def test_every_transform_has_a_page_and_the_index_lists_it() -> None:
    pages = {file.stem for file in MAPPING.glob("*.md")} - {"README", "rules", "peers"}
    index = (MAPPING / "README.md").read_text(encoding="utf-8")
    assert pages == set(transforms())
    assert [page for page in sorted(pages) if f"({page}.md)" not in index] == []


def test_the_index_says_of_every_other_cdm_table_that_it_is_empty() -> None:
    empty = (MAPPING / "README.md").read_text(encoding="utf-8").split("## What stays empty", 1)[1]
    others = {table.name for table in tables_of("cdm")} - set(transforms())
    assert [name for name in sorted(others) if not re.search(rf"\b{name}\b", empty)] == []


def test_the_decision_lists_every_volatile_column() -> None:
    text = (ROOT / "docs" / "decisions" / "0017-volatile-columns.md").read_text(encoding="utf-8")
    for table in SOURCE_TABLES.values():
        for column in table.columns:
            if column.volatile:
                parts = [column.name] if table.name != "payers" else re.split(r"(?<=^COVERED)_|(?<=^UNCOVERED)_", column.name)
                assert all(part in text for part in parts), f"{table.name}.{column.name}"


def test_limits_state_what_is_not_promised() -> None:
    text = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8").lower()
    for limit in ("without a manifest", "cut at a line end", "uses an id twice", "one file against another", "the zone in which the cdm shows them"):
        assert limit in text


def test_concept_ids_in_the_mapping_are_those_of_the_code() -> None:
    """A page writes `32827 EHR encounter record`: an id of eight digits or a type concept that no table of facts has is a slip."""
    own = set(map(str, FIXED_CONCEPTS))
    for file in MAPPING.glob("*.md"):
        named = set(re.findall(r"\b(?:328[0-9]{2}|329[0-9]{2}|380[0-9]{5}|448[0-9]{5}|462[0-9]{5})\b", file.read_text(encoding="utf-8")))
        assert named <= own, file.name


def test_changelog_has_the_version() -> None:
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_decisions_are_numbered_once_and_titled_with_their_number() -> None:
    files = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    numbers = [file.name[:4] for file in files]
    assert len(set(numbers)) == len(numbers)
    for file in files:
        assert file.read_text(encoding="utf-8").startswith(f"# {file.name[:4]} "), file.name


def _without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def _anchors(text: str) -> set[str]:
    """The anchors of a text's headings, as the usual viewers make them."""
    headings = re.findall(r"^#+ +(.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("file", TEXTS, ids=IDS)
def test_relative_links_lead_somewhere(file: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _without_code(file.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (file.parent / path).resolve() if path else file
        assert place.exists(), target
        assert place.is_relative_to(ROOT), target
        if anchor:
            assert anchor in _anchors(place.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("file", TEXTS, ids=IDS)
def test_texts_name_no_folder_of_their_author(file: Path) -> None:
    assert OWN_PATHS.findall(file.read_text(encoding="utf-8")) == []
