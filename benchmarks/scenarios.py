"""What is measured: each scenario takes one sample at a time, on a database that is as it should be before it.

Belongs here: the scenarios, their snapshots, databases and floors. Does not: running the product (samples.py).
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psycopg

from benchmarks.floors import HASH_IN_PYTHON
from benchmarks.place import GB, Made, Place
from benchmarks.prefect_home import count_tasks, prefect_settings
from benchmarks.samples import BenchError, Sample, floor_seconds, measure
from benchmarks.server import Server
from omop_inc.cdm.vocabulary import load_vocabulary

RUN = "bench_run"
VOCABULARY = "bench_vocabulary"
# Measured: the database takes about three times the snapshot while it is made, a copy of it is used at a time or a reload has it
# twice, snapshots come beside.
DISK_PER_BYTE, DISK_PER_BYTE_USED_UP = 12, 6
# From here on a database is not copied but used up: one sample.
COPIED_UP_TO_GB = 4.0
TENFOLD_GB = 10.0
CONSTANT_PERCENT = 10.0  # of the people at 1x; of 3x and 10x so much less that their number stays


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all scenarios need."""

    place: Place
    server: Server
    stamp: str
    tell: Callable[[str], None]

    def vocabulary(self) -> str:
        """A database that holds the vocabulary and nothing else, to be copied."""
        if not self.server.has(VOCABULARY, str(self.place.vocabulary)):
            self.server.create(VOCABULARY)
            with psycopg.connect(self.server.url(VOCABULARY)) as connection:
                load_vocabulary(connection, self.place.vocabulary, "vocab")
            self.server.mark(VOCABULARY, str(self.place.vocabulary))
        return VOCABULARY

    def loaded(self, source: Made, without: str = "") -> str:
        """A database in which a snapshot was loaded by the present code, to be copied.

        Args:
            source: The snapshot.
            without: An optimisation that the load left out.
        """
        name = loaded_name(source, without)
        if not self.server.has(name, self._mark(source)):
            self.tell(f"loading {source.folder.name} once for what follows")
            self.load(source, without)
        return name

    def load(self, source: Made, without: str = "") -> Sample:
        """Load a snapshot into a new database and keep that for `loaded`."""
        self.server.create(RUN, self.vocabulary())
        self.server.quieten()
        sample = measure(self.server, RUN, source, self.place.home, settings={"OMOP_INC_WITHOUT": without})
        self.keep(source, RUN, without)
        return sample

    def keep(self, source: Made, database: str, without: str = "") -> None:
        """Keep for `loaded` a database that holds a snapshot."""
        self.server.vacuum(database)
        self.server.rename(database, loaded_name(source, without))
        self.server.mark(loaded_name(source, without), self._mark(source))

    def _mark(self, source: Made) -> str:
        return f"{self.stamp} {source.folder}"

    def check_disk(self, size_gb: float) -> None:
        """Stop before a disk runs full."""
        per_byte = DISK_PER_BYTE if size_gb <= COPIED_UP_TO_GB else DISK_PER_BYTE_USED_UP
        free, needed = shutil.disk_usage(self.place.home).free, size_gb * GB * per_byte
        if free < needed:
            raise BenchError(f"{free / GB:.0f} GB are free; a snapshot of {size_gb:g} GB needs about {needed / GB:.0f}.")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One thing to measure."""

    name: str
    about: str
    take: Callable[[Bench], Sample]  # one sample
    samples: int = 3
    floor: str | None = None
    group: str = "main"  # main, constant, series; extra: only when it is asked for


@dataclass(frozen=True, kw_only=True)
class Floor:
    """What was measured just before a sample, in the same state of the machine."""

    seconds: float
    extra: dict[str, float]

    def below(self, sample: Sample) -> Sample:
        """The sample with its floor."""
        return replace(sample, floor_s=self.seconds, extra=self.extra)


def _measure_floor(bench: Bench, kind: str, source: Made) -> Floor:
    """Measure a floor; that of hashing also as it is without a compiled loop."""
    seconds = floor_seconds(kind, source.folder, bench.server)
    interpreted = {HASH_IN_PYTHON: floor_seconds(HASH_IN_PYTHON, source.folder, bench.server)} if kind == "hash" else {}
    return Floor(seconds=seconds, extra=interpreted)


def loaded_name(source: Made, without: str = "") -> str:
    """The database in which a snapshot is loaded."""
    return f"bench_loaded_{source.folder.name}{f'_without_{without}' if without else ''}".replace("-", "_").replace(".", "_")


def _full_load(bench: Bench, source: Callable[[Place], Made]) -> Sample:
    made = source(bench.place)
    floor = _measure_floor(bench, "copy", made)
    return floor.below(bench.load(made))


def _next(
    bench: Bench,
    before: Callable[[Place], Made],
    after: Callable[[Place], Made],
    *,
    floor: str,
    expected: str = "applied",
    command: str = "run",
    is_copied: bool = True,
    is_kept: bool = False,
) -> Sample:
    """Apply a snapshot to a database in which another is loaded.

    Args:
        is_copied: Whether that database stays as it was; else it is used up.
        is_kept: Whether it is used on as the loaded one all the same: the snapshot is the one that it holds.
    """
    first, second = before(bench.place), after(bench.place)
    template = bench.loaded(first)
    measured = _measure_floor(bench, floor, second)
    if is_copied:
        bench.server.create(RUN, template)
    else:
        bench.server.rename(template, RUN)
    try:
        bench.server.quieten()
        sample = measure(bench.server, RUN, second, bench.place.home, words=("-m", "omop_inc", command), expected=expected)
        if is_kept:
            bench.keep(first, RUN)
    finally:
        bench.server.drop(RUN)
    return measured.below(sample)


def _second_day(bench: Bench, *, size: float) -> Sample:
    """Apply the day behind a day: what the first increment after a load finds new is old by then."""
    loaded, first = bench.place.scaled(size), bench.place.mutated(size, 1)
    second = bench.place.mutated(size, 1, after=first)
    floor = _measure_floor(bench, "hash", second)
    bench.server.create(RUN, bench.loaded(loaded))
    try:
        measure(bench.server, RUN, first, bench.place.home)
        bench.server.quieten()
        return floor.below(measure(bench.server, RUN, second, bench.place.home))
    finally:
        bench.server.drop(RUN)


def _vocabulary(bench: Bench) -> Sample:
    from benchmarks.vocabulary_load import measure_vocabulary

    with bench.server.fresh(RUN):
        bench.server.quieten()
        return measure_vocabulary(bench.server, RUN, bench.place.vocabulary, bench.place.home)


def _prefect(bench: Bench, size: float) -> Sample:
    """The 1 % day as a flow; its floor is the same day without Prefect."""
    before, after = bench.place.scaled(size), bench.place.mutated(size, 1)
    taken = []
    for words in (("-m", "omop_inc", "run"), ("-m", "flows.incremental"), ("-m", "flows.incremental")):  # the first flow makes Prefect's home
        bench.server.create(RUN, bench.loaded(before))
        tasks = count_tasks(bench.place.home)
        try:
            bench.server.quieten()
            taken.append(measure(bench.server, RUN, after, bench.place.home, words=words, settings=prefect_settings(bench.place.home)))
        finally:
            bench.server.drop(RUN)
    plain, flow = taken[0], taken[-1]
    made = count_tasks(bench.place.home) - tasks
    extra = {
        "start_s": (flow.wall_s - flow.inside_s) - (plain.wall_s - plain.inside_s),
        "tasks": made,
        "ms_per_task": (flow.inside_s - plain.inside_s) * 1000 / made,
    }
    return replace(flow, floor_s=plain.inside_s, extra=extra)


def scenarios(place: Place) -> dict[str, Scenario]:
    """All scenarios by name, in the order in which they are best taken."""
    found = [
        *_main(0.1),
        *_main(1.0),
        _vocabulary_scenario(),
        _prefect_scenario(),
        *_constant(0.1, "constant"),
        *_series(place),
        *_tenfold(),
        *_constant(1.0, "extra"),
    ]
    return {one.name: one for one in found}


def quick() -> list[Scenario]:
    """What two minutes allow: less data, one sample of what takes long."""
    return [replace(one, samples=1) for one in _main(0.02) if not one.name.startswith(("day_9", "day_1_then", "reload"))]


def _main(size: float) -> Iterator[Scenario]:
    def scaled(place: Place) -> Made:
        return place.scaled(size)

    def as_is(place: Place) -> Made:
        return place.scaled(size)

    days = {percent: partial(_mutated, size=size, percent=percent) for percent in (1, 9)}
    shuffled = partial(_mutated, size=size, percent=0, shuffle=True)
    at = f"@{size:g}gb"
    yield Scenario(name="full_load" + at, about="first load into an empty CDM", take=partial(_full_load, source=scaled), floor="copy")
    take = partial(_next, before=scaled, after=as_is, floor="read", expected="no_change")
    yield Scenario(name="no_change" + at, about="the same snapshot again", take=take, floor="read", samples=5)
    for percent, day in days.items():
        take = partial(_next, before=scaled, after=day, floor="hash")
        yield Scenario(name=f"day_{percent}{at}", about=f"{percent} % of the people changed, volatile columns redrawn", take=take, floor="hash")
    about = "1 % more of the people changed, the day behind that day"
    yield Scenario(name="day_1_then" + at, about=about, take=partial(_second_day, size=size), floor="hash")
    take = partial(_next, before=scaled, after=shuffled, floor="hash", expected="no_change")
    yield Scenario(name="shuffled" + at, about="the same rows, all in another order", take=take, floor="hash")
    take = partial(_next, before=scaled, after=as_is, floor="copy", command="reload")
    yield Scenario(name="reload" + at, about="full reload of the same snapshot, ids kept", take=take, floor="copy")


def _mutated(place: Place, *, size: float, percent: float, among: float | None = None, shuffle: bool = False) -> Made:
    return place.mutated(size, percent, among_gb=among, shuffle=shuffle)


def _vocabulary_scenario() -> Scenario:
    return Scenario(name="vocabulary", about="load of the vocabulary", take=_vocabulary, floor="copy")


def _prefect_scenario() -> Scenario:
    about = "the day of 1 % through Prefect with a server of its own"
    return Scenario(name="prefect@0.1gb", about=about, take=partial(_prefect, size=0.1), floor="without Prefect")


def _constant(unit: float, group: str) -> Iterator[Scenario]:
    """The same changes of the same people in 1, 3 and 10 times the total."""
    for factor in (1, 3, 10):
        size = unit * factor
        is_copied = size <= COPIED_UP_TO_GB
        take = partial(
            _checked_next,
            size=size,
            before=partial(_scaled, size=size),
            after=partial(_mutated, size=size, percent=CONSTANT_PERCENT, among=unit),
            is_copied=is_copied,
        )
        about = f"the delta of the 1x in {factor} times the total of {unit:g} GB"
        yield Scenario(name=f"constant_{factor}x@{size:g}gb", about=about, take=take, floor="hash", samples=3 if is_copied else 1, group=group)


def _tenfold() -> Iterator[Scenario]:
    """A load of ten times as much as elsewhere, its reload, and the day behind, which uses it up: what memory follows the total."""
    before = partial(_scaled, size=TENFOLD_GB)
    at = f"@{TENFOLD_GB:g}gb"

    def load(bench: Bench) -> Sample:
        bench.check_disk(TENFOLD_GB)
        return _full_load(bench, before)

    yield Scenario(name="full_load" + at, about="first load into an empty CDM", take=load, floor="copy", samples=1, group="extra")
    again = partial(_next, before=before, after=before, floor="copy", command="reload", is_copied=False, is_kept=True)
    about = "full reload of the same snapshot, ids kept"
    yield Scenario(name="reload" + at, about=about, take=again, floor="copy", samples=1, group="extra")
    after = partial(_mutated, size=TENFOLD_GB, percent=1)
    take = partial(_next, before=before, after=after, floor="hash", is_copied=False)
    about = "1 % of the people changed, volatile columns redrawn"
    yield Scenario(name="day_1" + at, about=about, take=take, floor="hash", samples=1, group="extra")


def _scaled(place: Place, *, size: float) -> Made:
    return place.scaled(size)


def _checked_next(bench: Bench, *, size: float, before: Callable[[Place], Made], after: Callable[[Place], Made], is_copied: bool) -> Sample:
    bench.check_disk(size)
    return _next(bench, before, after, floor="hash", is_copied=is_copied)


def _series(place: Place) -> Iterator[Scenario]:
    """The first of the consecutive exports loaded, and from it the way to each other one."""
    if not place.series:
        return
    first, others = place.series[0], place.series[1:]
    base = partial(_export, folder=first)
    yield Scenario(
        name="series_load", about=f"first load of the real export {first.name}", take=partial(_full_load, source=base), floor="copy", group="series"
    )
    take = partial(_next, before=base, after=base, floor="read", expected="no_change")
    yield Scenario(name="series_no_change", about="the same real export again", take=take, floor="read", samples=5, group="series")
    for folder in others:
        take = partial(_next, before=base, after=partial(_export, folder=folder), floor="hash")
        yield Scenario(
            name=f"series_{folder.name}", about=f"from the real export {first.name} to {folder.name}", take=take, floor="hash", group="series"
        )


def _export(place: Place, *, folder: Path) -> Made:
    return place.plain(folder)
