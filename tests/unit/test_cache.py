import contextlib
import os
import pickle
import sqlite3
import stat
import time
from pathlib import Path

import diskcache
import pytest

from omop_inc.cdm.cache import CacheRefused, JsonDisk, MapCache

MAP = {"codes": [["SNOMED", "1", 1, "observation", 10, 10, None]], "units": [["é {score}", 0]]}


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.target),)


def run(folder: Path, statement: str, parameters: tuple[object, ...] = ()) -> None:
    with contextlib.closing(sqlite3.connect(folder / "cache.db")) as connection, connection:
        connection.execute(statement, parameters)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    MapCache(tmp_path / "cache").put("key", MAP)
    return tmp_path / "cache"


def test_get_gives_what_put_kept_in_another_process(folder: Path) -> None:
    assert MapCache(folder).get("key") == MAP


def test_get_unknown_key_is_a_miss(folder: Path) -> None:
    assert MapCache(folder).get("other") is None


def test_folder_is_ours_alone(folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)
    MapCache(folder).get("key")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_put_keeps_every_value_inside_the_database(folder: Path) -> None:
    MapCache(folder).put("large", {"codes": [["SNOMED", str(i), 1, None, 0, 0, None] for i in range(100_000)], "units": []})
    assert len(MapCache(folder).get("large")["codes"]) == 100_000  # type: ignore[index]
    assert [path.name for path in folder.iterdir() if not path.name.startswith("cache.db")] == []


def test_get_pickled_value_is_not_run(folder: Path, tmp_path: Path) -> None:
    data = pickle.dumps(Bomb(tmp_path / "exploded"))
    run(folder, "UPDATE Cache SET mode = 4, value = ?", (sqlite3.Binary(data),))
    assert MapCache(folder).get("key") is None
    assert not (tmp_path / "exploded").exists()


def test_get_pickled_value_in_a_file_is_not_run(folder: Path, tmp_path: Path) -> None:
    (folder / "x.val").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    run(folder, "UPDATE Cache SET mode = 4, value = NULL, filename = 'x.val'")
    assert MapCache(folder).get("key") is None
    assert not (tmp_path / "exploded").exists()


def test_pickled_key_is_not_run_when_the_cache_is_listed(folder: Path, tmp_path: Path) -> None:
    data = pickle.dumps(Bomb(tmp_path / "exploded"))
    run(folder, "UPDATE Cache SET raw = 0, key = ?", (sqlite3.Binary(data),))
    with diskcache.Cache(str(folder), disk=JsonDisk) as cache, pytest.raises(CacheRefused, match="key that is not text"):
        list(cache)
    assert MapCache(folder).get("key") is None
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("mode", [2, 3])  # binary file, text file
def test_get_file_outside_the_folder_is_not_read(folder: Path, tmp_path: Path, mode: int) -> None:
    (tmp_path / "secret").write_text('{"codes": [], "units": []}', encoding="utf-8")
    run(folder, "UPDATE Cache SET mode = ?, value = NULL, filename = '../secret'", (mode,))
    assert MapCache(folder).get("key") is None


def test_put_over_a_planted_file_name_removes_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept", encoding="utf-8")
    run(folder, "UPDATE Cache SET filename = '../precious'")
    MapCache(folder).put("key", MAP)
    assert (tmp_path / "precious").read_text(encoding="utf-8") == "kept"
    assert MapCache(folder).get("key") == MAP


@pytest.mark.parametrize("damage", [b"", b"not a database at all, but long enough to be one" * 100])
def test_get_damaged_database_is_a_miss_and_put_heals_it(folder: Path, damage: bytes) -> None:
    for extra in ("cache.db-wal", "cache.db-shm"):
        (folder / extra).unlink(missing_ok=True)
    (folder / "cache.db").write_bytes(damage)
    assert MapCache(folder).get("key") is None
    MapCache(folder).put("key", MAP)
    assert MapCache(folder).get("key") == MAP


def test_get_planted_setting_is_a_miss_and_put_heals_it(folder: Path) -> None:
    run(folder, "INSERT INTO Settings (key, value) VALUES ('disk_nonsense', 1)")
    assert MapCache(folder).get("key") is None
    MapCache(folder).put("key", MAP)
    assert MapCache(folder).get("key") == MAP


@pytest.mark.parametrize("value", ["{", "[NaN", '"\ud800'.encode("utf-8", "surrogatepass").decode("utf-8", "replace") + "x", "[" * 100_000])
def test_get_value_that_is_not_json_is_a_miss(folder: Path, value: str) -> None:
    run(folder, "UPDATE Cache SET value = ?", (value,))
    assert MapCache(folder).get("key") is None


def test_get_locked_database_is_a_miss_within_a_second(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        before = time.perf_counter()
        assert MapCache(folder).get("key") is None
        MapCache(folder).put("key", MAP)
        assert time.perf_counter() - before < 1.5
    assert MapCache(folder).get("key") == MAP


def test_linked_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert MapCache(link).get("key") is None


def test_linked_database_is_refused_and_its_target_left_alone(folder: Path, tmp_path: Path) -> None:
    (folder / "cache.db").rename(tmp_path / "elsewhere.db")
    (folder / "cache.db").symlink_to(tmp_path / "elsewhere.db")
    before = (tmp_path / "elsewhere.db").read_bytes()
    MapCache(folder).put("key", {"codes": [], "units": []})
    assert MapCache(folder).get("key") is None
    assert (tmp_path / "elsewhere.db").read_bytes() == before


def test_folder_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: ours + 1)
    assert MapCache(folder).get("key") is None


def test_file_in_the_folders_place_is_a_miss(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("", encoding="utf-8")
    MapCache(tmp_path / "cache").put("key", MAP)
    assert MapCache(tmp_path / "cache").get("key") is None


def test_put_value_that_is_not_json_keeps_nothing(folder: Path) -> None:
    MapCache(folder).put("key2", {"codes": {1, 2}})
    assert MapCache(folder).get("key2") is None
