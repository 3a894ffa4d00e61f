"""Where the benchmarks keep their snapshots, and making those that are not there yet.

Belongs here: folders under state/bench, scaled and mutated snapshots by size, the machine's facts. Does not: databases.
"""

import hashlib
import json
import math
import os
import platform
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.floors import cores
from omop_inc.resources import examples_dir, sql_dir
from omop_inc.sampling.mutation import mutate_snapshot
from omop_inc.sampling.scaling import scale_snapshot
from omop_inc.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
GB = 10**9

# Folder of an export that snapshots are made from; default: the shipped example.
BASE_VARIABLE = "BENCH_BASE"
# Folder of consecutive exports of the same people, one folder a date.
SERIES_VARIABLE = "BENCH_SERIES"
VOCABULARY_VARIABLE = "BENCH_VOCABULARY"


@dataclass(frozen=True, kw_only=True)
class Made:
    """A snapshot that was made."""

    folder: Path
    size_bytes: int
    rows: int
    new: int = 0
    changed: int = 0
    removed: int = 0
    people: int = 0  # touched


@dataclass(frozen=True, kw_only=True)
class Place:
    """Folders of the benchmarks."""

    home: Path
    base: Path
    vocabulary: Path
    series: tuple[Path, ...]  # by name

    @property
    def results(self) -> Path:
        """Every sample taken."""
        return self.home / "results.json"

    def scaled(self, size_gb: float) -> Made:
        """The base so many times over that it has about this size."""
        base_bytes = self._plain_base()
        copies = max(1, math.ceil(size_gb * GB / base_bytes))
        return self._make(f"{size_gb:g}gb", lambda target: self._scale(target, copies))

    def mutated(self, size_gb: float, percent: float, *, after: Made | None = None, among_gb: float | None = None, shuffle: bool = False) -> Made:
        """The day after a scaled snapshot, or after one that was made from it.

        Args:
            among_gb: Only the people are touched who are in the scaled snapshot of this size too, of whom the percent is.
        """
        source = (after or self.scaled(size_gb)).folder
        seed = 1 if after is None else 2
        among = None if among_gb is None else self._people(among_gb)
        name = f"{size_gb:g}gb-{percent:.3g}pc{f'-of-{among}' if among else ''}-{seed}{'-shuffled' if shuffle else ''}"

        def make(target: Path) -> dict[str, int]:
            told = mutate_snapshot(source, target, percent=percent, seed=seed, among=among, shuffle=shuffle)
            counts = {kind: sum(getattr(truth, kind) for truth in told.tables.values()) for kind in ("rows", "new", "changed", "removed")}
            return {**counts, "people": sum(told.actions.values())}

        return self._make(name, make)

    def plain(self, folder: Path) -> Made:
        """A real export; a copy without compression where it is compressed."""
        if not any(folder.glob("*.gz")):
            return Made(folder=folder, size_bytes=sum(path.stat().st_size for path in folder.glob("*.csv")), rows=0)
        return self._make(f"plain-{folder.parent.name}-{folder.name}", lambda target: self._scale(target, 1, folder))

    def _people(self, size_gb: float) -> int:
        with (self.scaled(size_gb).folder / "patients.csv").open("rb") as file:
            return sum(1 for _ in file) - 1

    def _plain_base(self) -> int:
        return self._make("base", lambda target: self._scale(target, 1)).size_bytes

    def _scale(self, target: Path, copies: int, source: Path | None = None) -> dict[str, int]:
        return {"rows": sum(scale_snapshot(source or self.base, target, copies=copies).rows.values())}

    def _make(self, name: str, make: object) -> Made:
        """Make a snapshot unless it is there; one that was interrupted is made again."""
        folder = self.home / "snapshots" / _tag(self.base) / name
        facts = folder.parent / f"{name}.json"
        if facts.is_file():
            return Made(folder=folder, **json.loads(facts.read_text()))
        shutil.rmtree(folder, ignore_errors=True)
        counts = make(folder)  # type: ignore[operator]
        made = Made(folder=folder, size_bytes=sum(path.stat().st_size for path in folder.glob("*.csv")), **counts)
        facts.write_text(json.dumps({key: value for key, value in asdict(made).items() if key != "folder"}))
        return made


def find_place() -> Place:
    """Work out the folders from the environment."""
    examples = examples_dir()
    base = Path(os.environ.get(BASE_VARIABLE) or sorted((examples / "snapshots").iterdir())[0])
    series = os.environ.get(SERIES_VARIABLE)
    return Place(
        home=Settings().state_dir.expanduser().resolve() / "bench",
        base=base,
        vocabulary=Path(os.environ.get(VOCABULARY_VARIABLE) or examples / "vocabulary"),
        series=tuple(sorted(path for path in Path(series).iterdir() if path.is_dir())) if series else (),
    )


def code_stamp() -> str:
    """A digest of the product's code: results of other code are another's."""
    digest = hashlib.sha256()
    for folder, pattern in ((ROOT / "omop_inc", "*.py"), (ROOT / "omop_inc", "*.csv"), (sql_dir(), "*.sql")):
        for path in sorted(folder.rglob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def machine_facts(postgres: str, settings: dict[str, str]) -> dict[str, str]:
    """What figures depend on; nothing that names the machine."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": str(cores()),
        "memory": f"{memory / (1 << 30):.0f} GiB",
        "postgres": postgres,
        "python": platform.python_version(),
        "system": platform.system(),
        **settings,
    }


def _tag(folder: Path) -> str:
    """A name for what is made from a folder: its own, and its files' sizes."""
    sizes = [f"{path.name} {path.stat().st_size}" for path in sorted(folder.iterdir()) if path.is_file()]
    return f"{folder.name}-{hashlib.sha256(' '.join(sizes).encode()).hexdigest()[:8]}"
