"""The machine that a run, and an embedded server, may use: memory, cores, shared memory.

Belongs here: measuring them, limits of containers included. Does not: what follows from them (store/postgres_conf.py,
settings.py).
"""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

MB = 1024 * 1024
GB = 1024 * MB


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a process may use."""

    memory_bytes: int  # of the machine or of its control group, whichever is less
    cores: int  # that this process may run on
    shm_bytes: int  # size of /dev/shm; 0 where there is none
    is_linux: bool


def read_machine(cgroup_root: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")) -> Machine:
    """Measure the machine; limits of containers (control groups 1 and 2) count."""
    shm = Path("/dev/shm")
    return Machine(
        memory_bytes=min([_physical_memory(), *_memory_limits(cgroup_root, proc)]),
        cores=max(1, min([_usable_cores(), *_core_limits(cgroup_root, proc)])),
        shm_bytes=shutil.disk_usage(shm).total if shm.is_dir() else 0,
        is_linux=sys.platform == "linux",
    )


def _physical_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_limits(root: Path, proc: Path) -> list[int]:
    found = [_number(path / name) for path in _groups(root, proc, "memory") for name in ("memory.max", "memory.limit_in_bytes")]
    return [value for value in found if value is not None]


def _core_limits(root: Path, proc: Path) -> list[int]:
    limits = []
    for path in _groups(root, proc, "cpu"):
        words = _words(path / "cpu.max") or [*_words(path / "cpu.cfs_quota_us"), *_words(path / "cpu.cfs_period_us")]
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
            limits.append(max(1, int(words[0]) // int(words[1])))
    return limits


def _groups(root: Path, proc: Path, controller: str) -> list[Path]:
    """The folders of this process's control group and all above it, for version 2 and for version 1."""
    folders = {root, root / controller}
    for line in _lines(proc / "self" / "cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / controller if controllers else root
        group = top / path.strip().lstrip("/")
        folders |= {group, *(parent for parent in group.parents if parent.is_relative_to(top))}
    return sorted(folders)


def _number(path: Path) -> int | None:
    words = _words(path)
    return int(words[0]) if words and words[0].isdigit() else None


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
