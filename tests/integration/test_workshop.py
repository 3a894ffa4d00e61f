"""The real exports: ma100's three dates one after another, and each older generation alone with a day of changes."""

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.comparing import IdHistory, dangling_ids, differences, exact_differences, id_collisions
from tests.stores import Cdm

pytestmark = pytest.mark.workshop

# Rows in and out of the steps between ma100's dates, and the people they belong to (DESIGN: What a re-export really changes).
STEPS = {"20240502": (20, 12, 6), "20240531": (1497, 840, 75)}
OLDER = ("v27_113p", "v30_27p", "v30_59p", "v33_11p")
FRACTION = "0.05"


def _check(cdm: Cdm, fresh: Cdm, ids: IdHistory) -> None:
    maintained = cdm.read()
    assert differences(maintained, fresh.read()) == []
    assert dangling_ids(maintained) == []
    assert id_collisions(maintained) == []
    assert ids.check(maintained) == []


def _check_visits_and_deaths(cdm: Cdm) -> None:
    lonely = (
        "SELECT count(*) FROM cdm_staging.encounters LEFT JOIN cdm.visit_detail ON visit_detail_id = row_id"
        " LEFT JOIN cdm.visit_occurrence USING (visit_occurrence_id) WHERE visit_occurrence_id IS NULL"
    )
    assert cdm.query(lonely) == [(0,)]
    deaths = "SELECT count(*) FROM cdm_staging.patients LEFT JOIN cdm.death ON person_id = row_id WHERE deathdate IS DISTINCT FROM death_date"
    assert cdm.query(deaths) == [(0,)]


def _people_of(cdm: Cdm) -> int:
    """People with a source row that entered or left in the last run: whoever's image differs from the one kept before."""
    return int(cdm.query("SELECT count(DISTINCT patient) FROM public.moved")[0][0])


def _keep_image(cdm: Cdm) -> None:
    """Keep row hashes by patient, to tell whom the next run touches."""
    _execute(cdm, "CREATE TABLE public.image AS " + _image(cdm))


def _compare_image(cdm: Cdm) -> None:
    for name, one, other in (("came", _image(cdm), "TABLE public.image"), ("went", "TABLE public.image", _image(cdm))):
        _execute(cdm, f"CREATE TABLE public.{name} AS ({one}) EXCEPT ALL ({other})")
    _execute(cdm, "CREATE TABLE public.moved AS SELECT * FROM public.came UNION ALL SELECT * FROM public.went")


def _image(cdm: Cdm) -> str:
    query = (
        "SELECT table_name, max(column_name) FILTER (WHERE column_name IN ('patient', 'patientid')) FROM information_schema.columns"
        " WHERE table_schema = 'cdm_staging' GROUP BY 1 ORDER BY 1"
    )
    owners = {table: owner or ("id" if table == "patients" else "NULL::uuid") for table, owner in cdm.query(query)}
    return " UNION ALL ".join(f"SELECT '{table}' AS what, {owner} AS patient, row_hash FROM cdm_staging.{table}" for table, owner in owners.items())


def _execute(cdm: Cdm, text: str) -> None:
    with psycopg.connect(cdm.url) as connection:
        connection.execute(text)  # type: ignore[call-overload]


@pytest.mark.slow
def test_three_dates_of_ma100_one_after_another(cdm: Cdm, workshop: Path) -> None:
    folder, ids = workshop / "synthea" / "ma100", IdHistory()
    assert cdm.run(folder / "20240501").status == "applied"
    assert ids.check(cdm.read()) == []
    for date, (rows_in, rows_out, people) in STEPS.items():
        _execute(cdm, "DROP TABLE IF EXISTS public.image, public.came, public.went, public.moved")
        _keep_image(cdm)
        summary = cdm.run(folder / date)
        counts = summary.source_tables.values()
        assert sum(c.new + c.changed for c in counts) == rows_in
        assert sum(c.removed + c.changed for c in counts) == rows_out
        assert all(c.adds_up for c in counts)
        _compare_image(cdm)
        assert cdm.query("SELECT (SELECT count(*) FROM public.came), (SELECT count(*) FROM public.went)") == [(rows_in, rows_out)]
        assert _people_of(cdm) == people
        fresh = Cdm(cdm.url, cdm.state_dir, f"fresh{date}")
        fresh.run(folder / date)
        _check(cdm, fresh, ids)
        _check_visits_and_deaths(cdm)
        _execute(cdm, f"DROP SCHEMA fresh{date}, fresh{date}_staging CASCADE")
    written = cdm.tuples_written()
    assert cdm.run(folder / date).status == "no_change"
    assert cdm.tuples_written() == written
    before = cdm.read()
    reload = cdm.run(folder / date, "full_reload")
    assert not any(c["inserted"] or c["deleted"] for c in reload.cdm_tables.values())
    assert exact_differences(before, cdm.read()) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", OLDER)
def test_older_export_loads_again_and_takes_a_day_of_changes(cdm: Cdm, workshop: Path, tmp_path: Path, name: str) -> None:
    source, ids = workshop / "synthea" / name, IdHistory()
    first = cdm.run(source)
    assert first.status == "applied"
    assert all(counts.adds_up for counts in first.source_tables.values())
    assert ids.check(cdm.read()) == []
    _check_visits_and_deaths(cdm)
    written = cdm.tuples_written()
    assert cdm.run(source).status == "no_change"
    assert cdm.tuples_written() == written
    day = _mutate(workshop, _plain(source, tmp_path / "plain"), tmp_path / "day")
    fresh = Cdm(cdm.url, cdm.state_dir, "fresh")
    assert cdm.run_allowed(day).status == "applied"
    fresh.run(day)
    _check(cdm, fresh, ids)
    _check_visits_and_deaths(cdm)
    assert cdm.run_allowed(source).status == "applied"
    again = Cdm(cdm.url, cdm.state_dir, "again")
    again.run(source)
    _check(cdm, again, ids)


def _plain(source: Path, folder: Path) -> Path:
    """The files of a folder, unpacked, and payers' OWNERSHIP last: the tool counts that file's columns as older exports have them."""
    folder.mkdir()
    for path in sorted(source.iterdir()):
        if path.suffix == ".gz":
            (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        else:
            shutil.copyfile(path, folder / path.name)
    payers = folder / "payers.csv"
    rows = [line.split(",") for line in payers.read_text().splitlines()]
    if "OWNERSHIP" in rows[0]:
        at = rows[0].index("OWNERSHIP")
        payers.write_text("".join(",".join([*row[:at], *row[at + 1 :], row[at]]) + "\n" for row in rows))
    return folder


def _mutate(workshop: Path, source: Path, folder: Path) -> Path:
    """The next day, as the workshop's tool makes it."""
    tool = workshop.parent / "tools" / "mutate.py"
    command = [sys.executable, str(tool), str(source), str(folder), "--fraction", FRACTION, "--seed", "3", "--shuffle", "0.02"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)
    return folder
