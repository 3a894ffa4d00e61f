"""The summary of a run: what became of every row, as JSON and as tables.

Belongs here: its shape and how it is shown. Does not: counting (runs/).
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from omop_inc.store.ledger import StepTiming

Status = Literal["applied", "no_change", "skipped", "refused", "failed"]


@dataclass(kw_only=True)
class SourceCounts:
    """The fate of every row of one source table; `read` is the sum of all but `removed`."""

    read: int = 0
    unchanged: int = 0
    new: int = 0
    changed: int = 0
    removed: int = 0
    quarantined: int = 0
    pending: int = 0
    rejected: int = 0

    @property
    def adds_up(self) -> bool:
        """Whether every row read has exactly one fate, and none a negative count."""
        fates = (self.unchanged, self.new, self.changed, self.quarantined, self.pending, self.rejected)
        return self.read == sum(fates) and min(fates) >= 0


@dataclass(kw_only=True)
class Summary:
    """What a run did; counts and names only."""

    run_id: str
    kind: str
    status: Status
    snapshot_digest: str | None = None
    generation: int | None = None
    message: str | None = None
    source_tables: dict[str, SourceCounts] = field(default_factory=dict)
    cdm_tables: dict[str, dict[str, int]] = field(default_factory=dict)
    outcomes: dict[str, dict[str, int]] = field(default_factory=dict)  # by source table: loaded rows by CDM tables or rule
    codes: dict[str, int] = field(default_factory=dict)  # distinct codes, units and answers in use, and those without a concept
    unknown_references: dict[str, int] = field(default_factory=dict)  # of the rows that came in, by source column
    cut_texts: dict[str, int] = field(default_factory=dict)  # of the rows that came in: longer than their CDM column, by source column
    warnings: list[str] = field(default_factory=list)
    timings: list[StepTiming] = field(default_factory=list)
    duration_s: float = 0.0

    def stored(self) -> dict[str, Any]:
        """What the ledger keeps of it: counts per table."""
        return {
            "source_tables": {name: asdict(counts) for name, counts in self.source_tables.items()},
            "cdm_tables": self.cdm_tables,
            "outcomes": self.outcomes,
            "codes": self.codes,
            "unknown_references": self.unknown_references,
            "cut_texts": self.cut_texts,
            "warnings": self.warnings,
            "message": self.message,
        }

    def as_json(self) -> dict[str, Any]:
        """The whole summary as JSON holds it."""
        steps = [
            {
                "step": t.step,
                "table": t.table,
                "status": t.status,
                "duration_s": round(t.duration_s, 6),
                "rows": max(t.rows_in, t.rows_written),
                **{f"rows_{name}": getattr(t, f"rows_{name}") for name in ("in", "new", "changed", "removed", "written")},
            }
            for t in sorted(self.timings, key=lambda t: t.started_at)
        ]
        return {
            "run_id": self.run_id,
            "kind": self.kind,
            "status": self.status,
            "snapshot_digest": self.snapshot_digest,
            "generation": self.generation,
            **self.stored(),
            "steps": steps,
            "duration_s": round(self.duration_s, 6),
        }


def write_json(summary: Summary, path: Path) -> None:
    """Write a summary as JSON, whole or not at all."""
    beside = path.with_name(path.name + ".part")
    beside.parent.mkdir(parents=True, exist_ok=True)
    beside.write_text(json.dumps(summary.as_json(), indent=2) + "\n", encoding="utf-8")
    beside.replace(path)


def print_summary(summary: Summary, console: Console) -> None:
    """Show what became of the rows of each source table and what was written to each CDM table."""
    console.print(f"[bold]{summary.kind} {summary.status}[/bold]  run {summary.run_id}  {summary.duration_s:.2f} s")
    if summary.message:
        console.print(summary.message, markup=False)
    if summary.source_tables:
        names = ("read", "unchanged", "new", "changed", "removed", "quarantined", "pending", "rejected")
        rows = {name: [getattr(counts, n) for n in names] for name, counts in summary.source_tables.items()}
        console.print(_table("Source rows: read = unchanged + new + changed + quarantined + pending + rejected", "source table", names, rows))
    if any(summary.outcomes.values()):
        console.print(outcome_table(summary.outcomes))
    if any(c.get("inserted") or c.get("deleted") for c in summary.cdm_tables.values()):
        columns = ("inserted", "deleted", "total")
        console.print(_table("CDM rows", "CDM table", columns, {n: [c[k] for k in columns] for n, c in summary.cdm_tables.items()}))
    if codes := summary.codes:
        console.print(
            f"Codes in use: {codes['codes']:,}, without a standard concept: {codes['unmapped']:,};"
            f" units: {codes['units']:,}, unknown: {codes['unmapped_units']:,}"
        )
    for column, count in summary.unknown_references.items():
        console.print(f"{column}: {count:,} rows name a row that is not there; the CDM names none for them", markup=False)
    for column, count in summary.cut_texts.items():
        console.print(f"{column}: {count:,} texts are longer than their CDM column and cut there; the staged row has them whole", markup=False)
    for warning in summary.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False)


def outcome_table(outcomes: dict[str, dict[str, int]]) -> Table:
    """Where the loaded rows of each source table are in the CDM, or the rule that gives them no row; the largest first."""
    table = Table(title="Loaded rows by what became of them", title_justify="left")
    table.add_column("source table")
    table.add_column("loaded", justify="right")
    table.add_column("CDM table, or rule")
    for name, counts in outcomes.items():
        if counts:
            listed = ", ".join(f"{outcome} {count:,}" for outcome, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])))
            table.add_row(name, f"{sum(counts.values()):,}", listed)
    return table


def _table(title: str, first: str, columns: tuple[str, ...], rows: dict[str, list[int]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    for name, values in rows.items():
        table.add_row(name, *(f"{value:,}" if value else "" for value in values))
    table.add_section()
    table.add_row("all", *(f"{sum(column):,}" for column in zip(*rows.values(), strict=True)))
    return table
