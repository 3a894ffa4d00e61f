"""The SQL files of sql/transform and sql/view: their headers, what they read, and which of them may run at once.

Belongs here: parsing headers, the dependency graph. Does not: what rows a transform sees (scope.py, world.py).
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter

from omop_inc.resources import list_sql, read_sql
from omop_inc.source.tables import SOURCE_TABLES

Reads = Mapping[str, tuple[str, ...]]

# A view with a target: of its rows a transform reads those that go to its own table. A full load makes a table of it.
ROUTED_VIEW = "clinical_event"
# Views of few rows that several transforms read and that take long to work out: a full load does it once (of 0.35 CPU seconds each
# on a real export of 1 GB, the studies were worked out three times and the visits twice).
KEPT_VIEWS = ("encounter_visit", "imaging_study")
# The view below the routed one, one row per coded source row, and its column that names the source table.
EVENT_VIEW = "source_event"
# The view of all addresses, with the key that tells places apart.
PLACE_VIEW = "place"
ENCOUNTER = "encounter"
# The view of all codes that a transform looks up.
CODE_VIEW = "code_in_use"

# The order in which transforms begin as far as their reads allow: first what others wait for, of these what leads to
# fact_relationship, the last to begin; then what takes long. In a full load cost, the longest (CPU seconds on a real export
# of 1 GB: cost 7, measurement 4, observation 3, fact_relationship 2), begins while rows are still routed to the others.
START_ORDER = (
    "visit_detail",
    "payer_plan_period",
    "location",
    "condition_occurrence",
    "procedure_occurrence",
    "measurement",
    "observation",
    "fact_relationship",
    "cost",
    "visit_occurrence",
    "drug_exposure",
)

# The view of persons with a claim: of a person one row tells it, so it looks beyond the encounters of a scope.
PRESENCE_VIEW = "claim_person"

_UNIT = re.compile(r"^-- unit:\s*(\w+)", re.MULTILINE)
_READS = re.compile(r"^-- reads:\s*(\w+)\s*(?:\(([^)]*)\))?", re.MULTILINE)
_WRITES = re.compile(r"^-- writes:\s*(\w+)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class SqlFile:
    """One file of sql/transform or sql/view."""

    name: str  # of the file, which is that of the CDM table or view
    text: str
    unit: str | None  # what its rows follow from alone: "encounter" (and what the person has beside), a source table's Id, or "place"
    reads: Reads  # name of a source table, view or CDM table -> columns

    @property
    def is_by_encounter(self) -> bool:
        """Whether an encounter's rows follow from its own source rows, and the person's, alone."""
        return self.unit == ENCOUNTER

    @property
    def dimension(self) -> str | None:
        """The source table, or the view of places, by whose Ids or keys a transform without a person looks at rows."""
        return None if self.is_by_encounter else self.unit

    @property
    def source_reads(self) -> Reads:
        """The source tables and columns that the file names itself."""
        return {table: names for table, names in self.reads.items() if table in SOURCE_TABLES}

    @property
    def view_reads(self) -> tuple[str, ...]:
        """The shared views that the file names."""
        return tuple(n for n in self.reads if n in views())

    @property
    def cdm_reads(self) -> Reads:
        """The CDM tables and columns that the file names: other transforms' output."""
        return {n: c for n, c in self.reads.items() if n not in SOURCE_TABLES and n not in views()}


def _parse(folder: str, file: str) -> SqlFile:
    text = read_sql(f"{folder}/{file}.sql")
    reads: dict[str, tuple[str, ...]] = {}
    for table, listed in _READS.findall(text):
        reads[table] = tuple(sorted({*reads.get(table, ()), *(c.strip() for c in listed.split(",") if c.strip())}))
    units = _UNIT.findall(text)
    if len(units) > 1 or not {*units} <= {ENCOUNTER, PLACE_VIEW, *SOURCE_TABLES}:
        raise ValueError(f"sql/{folder}/{file}.sql: expected no '-- unit:', or one of encounter, place and the source tables, found {units}")
    return SqlFile(name=file, text=text, unit=units[0] if units else None, reads=reads)


@functools.cache
def views() -> dict[str, SqlFile]:
    """The shared views by name."""
    return {file: _parse("view", file) for file in list_sql("view")}


@functools.cache
def transforms() -> dict[str, SqlFile]:
    """The transforms by the CDM table that each writes."""
    found = {file: _parse("transform", file) for file in list_sql("transform")}
    for transform in found.values():
        written = _WRITES.findall(transform.text)
        if written != [transform.name]:
            raise ValueError(f"sql/transform/{transform.name}.sql: expected one line '-- writes: {transform.name}', found {written}")
    return found


def code_views() -> list[SqlFile]:
    """The views that tell which codes are in use: they join no look-up, because the look-ups are made from them."""
    return [*views_of(views()[CODE_VIEW]), views()[CODE_VIEW]]


def coded_sources() -> frozenset[str]:
    """The source tables with codes that are looked up."""
    return frozenset(all_reads(views()[CODE_VIEW])[0])


def view_order() -> list[str]:
    """All shared views, each after those that it reads."""
    return list(TopologicalSorter({n: view.view_reads for n, view in views().items()}).static_order())


def views_of(*files: SqlFile, but: str | None = None) -> list[SqlFile]:
    """The views that files read, directly or through others, each once and after those that it reads.

    Args:
        but: A view to leave out, with what is reached through it alone.
    """
    graph: dict[str, tuple[str, ...]] = {}
    todo = [n for file in files for n in file.view_reads]
    while todo:
        view = views()[todo.pop()]
        if view.name != but and view.name not in graph:
            graph[view.name] = tuple(n for n in view.view_reads if n != but)
            todo += view.view_reads
    return [views()[n] for n in TopologicalSorter(graph).static_order()]


def all_reads(file: SqlFile, *, with_routed: bool = True) -> tuple[Reads, Reads]:
    """The source tables and the CDM tables that a file reads, with columns, through its views as well.

    Args:
        with_routed: Whether to follow the routed view, of which a transform sees only its own rows.
    """
    sources: dict[str, set[str]] = {}
    cdm: dict[str, set[str]] = {}
    for one in (file, *views_of(file, but=None if with_routed else ROUTED_VIEW)):
        for target, reads in ((sources, one.source_reads), (cdm, one.cdm_reads)):
            for table, names in reads.items():
                target.setdefault(table, set()).update(names)
    return {t: tuple(sorted(c)) for t, c in sources.items()}, {t: tuple(sorted(c)) for t, c in cdm.items()}


@functools.cache
def waits() -> Mapping[str, frozenset[str]]:
    """For each transform those whose output it reads, in the order in which they should begin.

    What others wait for and what takes long begins early (START_ORDER); the rest follows by name.
    """
    place = {name: at for at, name in enumerate(START_ORDER)}
    names = sorted(transforms(), key=lambda name: (place.get(name, len(place)), name))
    return {name: frozenset(all_reads(transforms()[name])[1]) for name in names}
