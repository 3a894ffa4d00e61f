"""How the ledger is kept from growing."""

from tests.stores import EXAMPLES, Cdm

KEEP = 2
RUNS = "SELECT count(*) FILTER (WHERE generation IS NULL), count(*) FILTER (WHERE generation IS NOT NULL) FROM cdm_ledger.run"
TIMED = (
    "SELECT count(DISTINCT run_id) FILTER (WHERE generation IS NULL), count(DISTINCT run_id) FILTER (WHERE generation IS NOT NULL)"
    " FROM cdm_ledger.step_timing INNER JOIN cdm_ledger.run USING (run_id)"
)
LOST = "SELECT count(*) FROM cdm_ledger.step_timing WHERE run_id NOT IN (SELECT run_id FROM cdm_ledger.run)"
# By statement, not by autovacuum; what it frees hangs on what other sessions still see, autovacuum's among them.
VACUUMED = "SELECT relname FROM pg_stat_user_tables WHERE schemaname = 'cdm_ledger' AND vacuum_count > 0 ORDER BY 1"


def test_of_runs_without_a_change_the_last_stay_and_of_the_others_the_last_timings(cdm: Cdm) -> None:
    dates = ("2020-06-17", "2020-07-01", "2020-07-29")
    for date in dates:
        cdm.run(EXAMPLES / "snapshots" / date, keep_runs=KEEP)
    assert (cdm.query(RUNS), cdm.query(TIMED)) == ([(0, 3)], [(0, KEEP)])
    kept = "SELECT generation FROM cdm_ledger.run WHERE run_id IN (SELECT run_id FROM cdm_ledger.step_timing) ORDER BY 1"
    assert cdm.query(kept) == [(2,), (3,)]
    for _ in range(KEEP + 2):
        assert cdm.run(EXAMPLES / "snapshots" / dates[-1], keep_runs=KEEP).status == "no_change"
    assert (cdm.query(RUNS), cdm.query(TIMED)) == ([(KEEP, 3)], [(KEEP, KEEP)])
    assert cdm.query(LOST) == [(0,)]
    assert cdm.query(VACUUMED) == [("run",), ("step_timing",)]
