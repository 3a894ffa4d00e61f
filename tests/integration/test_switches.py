"""Every optimisation left out alone gives the same CDM, and is really left out."""

import shutil
from pathlib import Path
from typing import get_args

import psycopg
import pytest
from psycopg_pool import ConnectionPool, NullConnectionPool

from omop_inc.machine import read_machine
from omop_inc.runs import detect
from omop_inc.settings import Switch
from omop_inc.store.db import open_database
from omop_inc.store.postgres_conf import server_settings
from omop_inc.store.sizing import session_sizes
from tests.comparing import differences
from tests.stores import EXAMPLES, Cdm

SNAPSHOTS = EXAMPLES / "snapshots"


@pytest.mark.slow
@pytest.mark.parametrize("switch", get_args(Switch))
def test_a_switch_alters_nothing_in_the_cdm(cdm: Cdm, switch: Switch) -> None:
    other = Cdm(cdm.url, cdm.state_dir, "other")
    for date in ("2020-06-17", "2020-07-01"):
        cdm.run(SNAPSHOTS / date)
        other.run(SNAPSHOTS / date, without=frozenset({switch}))
    assert differences(cdm.read(), other.read()) == []


def test_without_unlogged_no_table_is_unlogged(cdm: Cdm) -> None:
    other = Cdm(cdm.url, cdm.state_dir, "other")
    query = "SELECT count(*) FROM pg_class INNER JOIN pg_namespace AS n ON n.oid = relnamespace WHERE nspname = %s AND relpersistence = 'u'"
    for date in ("2020-06-17", "2020-07-01"):
        cdm.run(SNAPSHOTS / date)
        other.run(SNAPSHOTS / date, without=frozenset({"unlogged"}))
    assert cdm.query(query, "cdm_run") > [(0,)]
    assert other.query(query, "other_run") == [(0,)]


def test_without_analyze_no_table_has_statistics(cdm: Cdm) -> None:
    cdm.run(SNAPSHOTS / "2020-06-17", without=frozenset({"analyze"}))
    analyzed = "SELECT count(*) FROM pg_stat_user_tables WHERE schemaname IN ('cdm', 'cdm_staging') AND analyze_count > 0"
    cdm.wait_alone()
    assert cdm.query(analyzed) == [(0,)]


def test_without_the_pool_every_piece_of_work_has_a_connection_of_its_own(cdm: Cdm) -> None:
    pids = []
    for switches, kind in ((frozenset({"pool"}), NullConnectionPool), (frozenset(), ConnectionPool)):
        database = open_database(cdm.settings(without=switches))
        assert type(database.pool) is kind
        for _ in range(2):
            with database.connection() as connection:
                pids.append(connection.info.backend_pid)
        database.close()
    assert pids[0] != pids[1]
    assert pids[2] == pids[3]


def test_without_settings_sessions_and_server_have_the_defaults(cdm: Cdm) -> None:
    database = open_database(cdm.settings(without=frozenset({"postgres_settings"})))
    with database.connection() as connection, psycopg.connect(cdm.url) as other:
        for name in ("random_page_cost", "work_mem", "jit", "synchronous_commit", "max_parallel_workers_per_gather"):
            assert connection.execute(f"SHOW {name}").fetchone() == other.execute(f"SHOW {name}").fetchone()  # type: ignore[arg-type]
        assert connection.execute("SHOW timezone").fetchone() == ("UTC",)
    database.close()
    tuned, plain = (server_settings(read_machine(), 1, is_tuned=is_tuned) for is_tuned in (True, False))
    assert "shared_buffers" in tuned
    assert not {"shared_buffers", "max_wal_size", "random_page_cost", "checkpoint_timeout"} & set(plain)
    assert plain["fsync"] == "on"
    assert plain["log_error_verbosity"] == "terse"


def test_sessions_at_work_are_sized_by_the_server_and_their_number(cdm: Cdm) -> None:
    (cache_bytes,) = cdm.query("SELECT pg_size_bytes(current_setting('effective_cache_size'))")[0]
    for workers in (2, 40):
        database = open_database(cdm.settings(workers=workers))
        with database.connection() as connection:
            found = {name: str((connection.execute(f"SHOW {name}").fetchone() or ("",))[0]) for name in ("work_mem", "maintenance_work_mem")}  # type: ignore[arg-type]
        database.close()
        assert {name: value.replace("1GB", "1024MB") for name, value in found.items()} == session_sizes(int(cache_bytes), workers + 1)


def test_a_session_at_work_keeps_to_one_core(cdm: Cdm) -> None:
    database = open_database(cdm.settings())
    with database.connection() as connection:
        for name in ("max_parallel_workers_per_gather", "max_parallel_maintenance_workers"):
            assert connection.execute(f"SHOW {name}").fetchone() == ("0",)  # type: ignore[arg-type]
    database.close()


def test_without_the_disk_cache_none_is_kept(cdm: Cdm) -> None:
    cdm.run(SNAPSHOTS / "2020-06-17", without=frozenset({"disk_cache"}))
    assert not (cdm.state_dir / "cache").exists()
    cdm.run(SNAPSHOTS / "2020-07-01")
    assert (cdm.state_dir / "cache" / "cache.db").exists()


def test_without_file_digests_an_equal_file_is_hashed_and_found_equal(cdm: Cdm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = shutil.copytree(SNAPSHOTS / "2020-06-17", tmp_path / "snapshot")
    cdm.run(source)
    hashed = []
    real = detect.hash_records
    monkeypatch.setattr(detect, "hash_records", lambda file, *part, **how: hashed.append(file.table) or real(file, *part, **how))
    assert cdm.run(source).status == "no_change"
    assert hashed == []
    assert cdm.run(source, without=frozenset({"file_digests"})).status == "no_change"
    assert len(hashed) == 18
