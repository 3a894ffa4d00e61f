"""Several mutants in one run: those of tables that do not read one another, so that a table's failing case names its mutant.

Belongs here: which go together, and reading who failed. Does not: running (scratch.py).
Only a kill is told here. What lives is tried again alone, by all the tests that concern it.
"""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from benchmarks.mutation.mutants import Mutant
from omop_inc.cdm.transforms import code_views, transforms, views_of, waits

_FAILED = re.compile(r"^FAILED tests/sql/test_cases\.py::test_case\[(\w+)/(\w+)\]", re.MULTILINE)
# A transform that PostgreSQL refuses, or the table whose constraint its rows break.
REFUSED_BY = re.compile(r"sql/transform/(\w+)\.sql: PostgreSQL answered|PostgreSQL answered 23\w+ \(\w+\) at \w+\.(\w+)")


@cache
def own_tables(file: str) -> frozenset[str]:
    """The tables whose cases look at a file: the transform's own, or those of a view's readers."""
    stem = Path(file).stem
    if "/transform/" in file:
        return frozenset({stem})
    return frozenset(name for name, one in transforms().items() if any(view.name == stem for view in views_of(one)))


@cache
def touched_tables(file: str) -> frozenset[str]:
    """All tables that a change of a file may alter, through others' output and through the codes in use."""
    touched = set(transforms() if Path(file).stem in {view.name for view in code_views()} else own_tables(file))
    while more := {name for name, read in waits().items() if read & touched} - touched:
        touched |= more
    return frozenset(touched)


def is_fit(file: str) -> bool:
    """Whether a file's mutants can be tried together with others."""
    return "/transform/" in file or ("/view/" in file and len(touched_tables(file)) < len(transforms()))


def pack(mutants: Iterable[Mutant]) -> list[list[Mutant]]:
    """Groups of mutants none of which may alter a table whose cases look at another."""
    groups: list[list[Mutant]] = []
    for mutant in mutants:
        for group in groups:
            if not any(_meet(mutant.file, other.file) for other in group):
                group.append(mutant)
                break
        else:
            groups.append([mutant])
    return groups


def _meet(one: str, other: str) -> bool:
    return bool(own_tables(one) & touched_tables(other) or own_tables(other) & touched_tables(one))


def killers(group: list[Mutant], output: str) -> dict[str, str]:
    """Of a run with a group's changes, by mutant: the case that failed, or the transform that PostgreSQL refused."""
    found: dict[str, str] = {}
    refused = REFUSED_BY.search(output)
    if refused:
        table = refused[1] or refused[2]
        return {mutant.id: f"{table}: refused by PostgreSQL" for mutant in group if table in own_tables(mutant.file)}
    for table, case in _FAILED.findall(output):
        for mutant in group:
            if table in own_tables(mutant.file):
                found.setdefault(mutant.id, f"tests/sql/test_cases.py::test_case[{table}/{case}]")
    return found
