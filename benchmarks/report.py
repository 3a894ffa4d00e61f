"""The figures as a text: tables for docs/benchmarks.md and for the terminal.

Belongs here: columns, words, the marked sections of the page. Does not: figures (results.py), measuring.
"""

from pathlib import Path

from benchmarks.floors import HASH_IN_PYTHON
from benchmarks.place import ROOT
from benchmarks.plot import draw_bars
from benchmarks.results import Median

PAGE = ROOT / "docs" / "benchmarks.md"
PLOT = ROOT / "docs" / "benchmarks.svg"
MB = 1e6
NOTED_BYTES = 500 * MB  # smaller snapshots are hashed in a moment

COLUMNS = (
    "scenario", "snapshot MB", "rows", "changed rows", "process s", "run s", "behind detection s", "floor s", "ratio", "CPU s", "server CPU s",
    "client MB", "server MB", "read MB", "WAL MB", "temp MB", "rows/s", "samples",
)  # fmt: skip


def table(medians: dict[str, Median], floors: dict[str, str | None], outdated: set[str]) -> str:
    """The main table in Markdown.

    Args:
        medians: By scenario.
        floors: Kind of floor by scenario.
        outdated: Scenarios measured with older code.
    """
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" + "|---:" * (len(COLUMNS) - 1) + "|"]
    for name, one in medians.items():
        values = one.values
        floor = f"{values['floor_s']:.2f} {floors.get(name) or ''}" if values.get("floor_s") else ""
        cells = [
            name + (" (older code)" if name in outdated else ""),
            f"{values['size_bytes'] / MB:,.0f}",
            f"{values['rows']:,.0f}",
            f"{values['delta_rows']:,.0f}",
            f"{values['wall_s']:.2f}",
            f"{values['inside_s']:.2f}",
            f"{values['database_s']:.2f}",
            floor,
            f"{one.ratio:.2f}" if one.ratio is not None else "",
            f"{values['cpu_s']:.1f}",
            f"{values['server_cpu_s']:.1f}",
            f"{values['peak_client_bytes'] / MB:,.0f}",
            f"{values['peak_server_bytes'] / MB:,.0f}",
            f"{values['read_bytes'] / MB:,.0f}",
            f"{values['wal_bytes'] / MB:,.1f}",
            f"{values['temp_bytes'] / MB:,.1f}",
            f"{values['rows'] / values['inside_s']:,.0f}",
            str(one.count),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def phases(medians: dict[str, Median]) -> str:
    """Where the time of a run goes: how long each step was under way."""
    steps = list(dict.fromkeys(step for one in medians.values() for step in one.phases))
    if not steps:
        return ""
    lines = ["| scenario | " + " | ".join(steps) + " |", "|---" + "|---:" * len(steps) + "|"]
    for name, one in medians.items():
        if one.phases:
            lines.append(f"| {name} | " + " | ".join(f"{one.phases[step]:.2f}" if one.phases.get(step, 0) >= 0.005 else "" for step in steps) + " |")
    return "\n".join(lines)


def machine_line(machine: dict[str, str]) -> str:
    """What the figures were measured on."""
    return (
        f"{machine['cores']} cores, {machine['memory']} of memory, PostgreSQL {machine['postgres']} (shared_buffers {machine['shared_buffers']}),"
        f" Python {machine['python']}, {machine['system']}; files and database in the page cache."
    )


def constant_note(medians: dict[str, Median]) -> str:
    """Whether the database's part stays when the total grows."""
    lines = []
    for unit in ("0.1", "1"):
        named = {
            factor: next((m for n, m in medians.items() if n == f"constant_{factor}x@{float(unit) * factor:g}gb"), None) for factor in (1, 3, 10)
        }
        first = named[1]
        for factor in (3, 10):
            other = named[factor]
            if first and other:
                grown = other.values["database_s"] / first.values["database_s"]
                lines.append(f"- {unit} GB to {factor} times as much: the part behind the detection takes {grown:.2f} times as long.")
    return "\n".join(lines)


def prefect_note(medians: dict[str, Median]) -> str:
    """What Prefect adds to a run."""
    return "\n".join(
        f"- Through Prefect ({name}): {one.extra['start_s']:.1f} s for its start and end, {one.extra['tasks']:.0f} tasks,"
        f" {one.extra['ms_per_task']:.1f} ms a task."
        for name, one in medians.items()
        if "ms_per_task" in one.extra
    )


def hashing_note(medians: dict[str, Median]) -> str:
    """The runs of 1 GB against hashing as it is without a compiled loop."""
    return "\n".join(
        f"- {name}: hashing every record from Python without a compiled loop, a process a core, takes {one.extra[HASH_IN_PYTHON]:.2f} s;"
        f" the run takes {one.values['inside_s'] / one.extra[HASH_IN_PYTHON]:.2f} times that."
        for name, one in medians.items()
        if HASH_IN_PYTHON in one.extra and one.values["size_bytes"] > NOTED_BYTES
    )


def write_section(name: str, text: str) -> None:
    """Replace what stands between the markers of a section of the page."""
    page = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- {name}: begin, made by ./dev bench -->", f"<!-- {name}: end -->"
    before, rest = page.split(begin, 1)
    after = rest.split(end, 1)[1]
    PAGE.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8")


def write_page(
    medians: dict[str, Median], floors: dict[str, str | None], outdated: set[str], machine: dict[str, str], page_plot: Path = PLOT
) -> None:
    """Write the generated section of docs/benchmarks.md and its plot."""
    parts = [
        f"Measured on {machine_line(machine)}",
        table(medians, floors, outdated),
        constant_note(medians),
        hashing_note(medians),
        prefect_note(medians),
    ]
    parts += ["How long each step was under way, in seconds (tables of a step run side by side, steps may overlap):", phases(medians)]
    write_section("figures", "\n\n".join(part for part in parts if part))
    rows = [
        (name, one.ratio, f"{one.ratio:.2f} x {one.values['floor_s']:.2f} s = {one.values['inside_s']:.2f} s")
        for name, one in medians.items()
        if one.ratio is not None
    ]
    page_plot.write_text(draw_bars("Time of a run, in times of its floor", rows), encoding="utf-8")
