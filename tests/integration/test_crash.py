"""kill -9 at any moment: the CDM is the old one or the new one, and the next run ends as if nothing had been.

OMOP_INC_TEST_KILLS=200 kills so many runs more, at random moments.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from omop_inc.runs.snapshots import Kind
from tests.comparing import Store, differences, exact_differences
from tests.factories import small_world
from tests.stores import Cdm
from tests.worlds import Change, History, write_snapshot

KILLS = int(os.environ.get("OMOP_INC_TEST_KILLS", "3"))
# Runs a snapshot and kills itself when the nth step has ended, or never.
PROGRAM = """
import os, pathlib, signal, sys
from omop_inc.runs.snapshots import Request, apply_snapshot
from omop_inc.settings import load_settings
source, kind, state, url, last = sys.argv[1:]
ended = 0
def listener(timing):
    global ended
    ended += 1
    if ended == int(last):
        os.kill(os.getpid(), signal.SIGKILL)
print("begin", flush=True)
settings = load_settings(state_dir=pathlib.Path(state), database_url=url, workers=2)
_, error = apply_snapshot(Request(source=pathlib.Path(source), kind=kind), settings, listener=listener)
sys.exit(1 if error else 0)
"""


@pytest.fixture
def snapshots(tmp_path: Path) -> tuple[Path, Path]:
    history = History()
    a = write_snapshot(tmp_path / "a", small_world(2))
    history.world = small_world(2)
    changes = [Change("leave"), Change("update", "encounters", 0, 7, 1), Change("double", "conditions")]
    changes += [Change("arrive", row=3), Change("bad", "procedures")]
    return a, write_snapshot(tmp_path / "b", history.step(changes))


def _start(cdm: Cdm, folder: Path, kind: Kind, last_step: int) -> subprocess.Popen[str]:
    arguments = [str(folder), kind, str(cdm.state_dir), cdm.url, str(last_step)]
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def _is_whole(found: Store, old: Store, new: Store) -> bool:
    """Whether a store is the old one to the id, or holds what the new one holds."""
    return not exact_differences(found, old) or not differences(found, new)


def _left_over(cdm: Cdm) -> list[str]:
    """The run's own tables that hold a row; the tables themselves stay from run to run."""
    query = (
        "SELECT format('%%I.%%I', nspname, relname) FROM pg_class INNER JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE nspname LIKE 'cdm\\_run%%' AND relkind = 'r' ORDER BY 1"
    )
    return [table for (table,) in cdm.query(query) if cdm.query(f"SELECT EXISTS (SELECT FROM {table})") == [(True,)]]


@pytest.mark.parametrize("kind", ["incremental", "full_reload"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_run_killed_after_a_step_leaves_the_old_cdm_and_the_next_run_makes_the_new(
    cdm: Cdm, snapshots: tuple[Path, Path], kind: Kind, share: float
) -> None:
    a, b = snapshots
    fresh = Cdm(cdm.url, cdm.state_dir, "fresh")
    cdm.run(a)
    fresh.run(a)
    steps = len(fresh.run(b, kind).timings)
    old, new = cdm.read(), fresh.read()
    process = _start(cdm, b, kind, max(1, int(steps * share)))
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    cdm.wait_alone()
    assert _is_whole(cdm.read(), old, new)
    cdm.run(b, kind, lock_wait_s=10)
    assert differences(cdm.read(), new) == []
    assert _left_over(cdm) == []
    assert cdm.run(b).status == "no_change"


def test_first_load_killed_leaves_nothing_that_hinders_the_next(cdm: Cdm, snapshots: tuple[Path, Path]) -> None:
    process = _start(cdm, snapshots[0], "incremental", 30)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    fresh = Cdm(cdm.url, cdm.state_dir, "fresh")
    cdm.run(snapshots[0], lock_wait_s=10)
    fresh.run(snapshots[0])
    assert differences(cdm.read(), fresh.read()) == []


def test_runs_killed_at_random_moments_end_as_if_nothing_had_been(cdm: Cdm, snapshots: tuple[Path, Path]) -> None:
    drawn = random.Random(KILLS)
    expected: dict[Path, Store] = {}
    for number, folder in enumerate(snapshots):
        fresh = Cdm(cdm.url, cdm.state_dir, f"fresh{number}")
        fresh.run(folder)
        expected[folder] = fresh.read()
    cdm.run(snapshots[0])
    start = time.monotonic()
    cdm.run(snapshots[1])
    longest = 2 * (time.monotonic() - start)
    for number in range(KILLS):
        old, target = cdm.read(), snapshots[number % 2]
        process = _start(cdm, target, drawn.choice(("incremental", "full_reload")), 0)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(drawn.uniform(0, longest))
        process.kill()
        process.communicate(timeout=120)
        cdm.wait_alone()
        assert _is_whole(cdm.read(), old, expected[target])
        cdm.run(target, lock_wait_s=10)
        assert differences(cdm.read(), expected[target]) == []


def test_runs_vacuum_the_tables_of_their_own_that_they_filled(cdm: Cdm, snapshots: tuple[Path, Path]) -> None:
    """Autovacuum leaves so few rows alone; without VACUUM a hundredth run looked at those of the runs before.

    The statement is counted: what it frees hangs on what other sessions still see, autovacuum's among them.
    """
    for number in range(4):
        cdm.run(snapshots[number % 2])
    cdm.wait_alone()
    query = "SELECT relname FROM pg_stat_user_tables WHERE schemaname IN ('cdm_run', 'cdm_run_result') AND vacuum_count >= 3"
    vacuumed = {table for (table,) in cdm.query(query)}
    assert len(vacuumed) > 20
    assert {"encounters_candidate", "gone_visit_occurrence", "added_visit_occurrence", "visit_occurrence"} <= vacuumed
