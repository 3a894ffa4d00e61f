"""What became of each mutant: kept line by line in a file, so that a run can be taken up again, and told on a page.

Belongs here: the record, the file, the tables of docs/mutation.md. Does not: judging (scratch.py).
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from benchmarks.mutation.mutants import Mutant

# invalid: PostgreSQL refuses the text itself, so that it proves nothing; such a mutant is not counted and another is drawn.
Status = Literal["killed", "timeout", "survived", "invalid"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """The fate of one mutant."""

    id: str
    file: str
    line: int
    operator: str
    what: str  # the change in words
    status: Status
    killer: str = ""  # the first test that failed, or the error
    way: str = ""  # by which the judgement was made: pytest
    duration_s: float = 0.0


def make_result(mutant: Mutant, status: Status, killer: str, way: str, duration_s: float) -> Result:
    """The result of a mutant."""
    return Result(
        id=mutant.id,
        file=mutant.file,
        line=mutant.line,
        operator=mutant.operator,
        what=mutant.describe(),
        status=status,
        killer=killer,
        way=way,
        duration_s=round(duration_s, 1),
    )


def read_results(path: Path) -> dict[str, Result]:
    """The last result of each mutant, by its id."""
    if not path.is_file():
        return {}
    found = (Result(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines())
    return {result.id: result for result in found}


def add_result(path: Path, result: Result) -> None:
    """Write a result down."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(result), ensure_ascii=False) + "\n")


def table_by(results: Iterable[Result], heading: str, attribute: str) -> str:
    """A table of counts by file or operator."""
    groups: dict[str, Counter[str]] = {}
    for result in results:
        groups.setdefault(str(getattr(result, attribute)), Counter())[result.status] += 1
    lines = [f"| {heading} | mutants | killed | by time | survived |", "|---|--:|--:|--:|--:|"]
    for group, counts in [*sorted(groups.items()), ("all", sum(groups.values(), Counter()))]:
        total = counts["killed"] + counts["timeout"] + counts["survived"]
        label = group if group == "all" or attribute != "file" else f"`{group}`"
        lines.append(f"| {label} | {total} | {counts['killed']} | {counts['timeout'] or ''} | {counts['survived'] or ''} |")
    return "\n".join(lines)


def survivors(results: Iterable[Result]) -> str:
    """A line for each survivor, to be explained."""
    rows = [r for r in results if r.status == "survived"]
    return "\n".join(f"- `{r.file}:{r.line}` ({r.id}, {r.operator}): {r.what}" for r in sorted(rows, key=lambda r: (r.file, r.line)))
