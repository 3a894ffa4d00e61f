"""Settings that decide the mapping, through whole runs: the user's units, the time zone, and what is counted of cut texts."""

from pathlib import Path

import pytest

from omop_inc.errors import SettingsError
from tests.comparing import differences
from tests.factories import small_world, uid
from tests.stores import Cdm
from tests.worlds import write_snapshot

UNITS = "SELECT unit_source_value, unit_concept_id FROM cdm.measurement WHERE unit_source_value IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2"
VISIT = """
    SELECT visit_detail_start_date::text, visit_detail_start_datetime::text FROM cdm.visit_detail
    INNER JOIN cdm_staging.encounters ON encounters.row_id = visit_detail_id WHERE encounters.id = %s
"""


def units_file(path: Path, *lines: str) -> Path:
    path.write_text("unit_source_value,ucum_code\n" + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_changed_units_transform_every_person_anew(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world()
    for row, unit in zip(world["observations"], ("cm", "{own}"), strict=True):
        row["UNITS"] = unit
    folder = write_snapshot(tmp_path / "a", world)
    cdm.run(folder)
    assert cdm.query(UNITS) == [("cm", 8582), ("{own}", 0)]
    own = units_file(tmp_path / "units.csv", "{own},kg", "cm,mg")
    assert cdm.run(folder, units=own).status == "applied"
    assert cdm.query(UNITS) == [("cm", 8576), ("{own}", 9529)]
    assert cdm.run(folder, units=own).status == "no_change"
    units_file(own, "{own},no-such-code")
    assert "no-such-code" in " ".join(cdm.run(folder, units=own).warnings)
    assert cdm.query(UNITS) == [("cm", 8582), ("{own}", 0)]


def test_units_file_that_is_not_there_stops_the_run(cdm: Cdm, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="OMOP_INC_UNITS"):
        cdm.run(write_snapshot(tmp_path / "a", small_world(1)), units=tmp_path / "none.csv")


def test_time_zone_moves_dates_and_times_and_is_part_of_what_the_cdm_was_made_under(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world()
    one, other = uid("encounters", 0), uid("encounters", 2)
    world["encounters"][0]["START"] = "2020-03-01T02:30:00Z"
    world["encounters"][2]["START"] = "2020-07-01T00:00:00Z"  # a day without a time does not move
    folder = write_snapshot(tmp_path / "a", world)
    cdm.run(folder)
    assert cdm.query(VISIT, one) == [("2020-03-01", "2020-03-01 02:30:00")]
    assert cdm.run(folder, time_zone="America/New_York").status == "applied"
    assert cdm.query(VISIT, one) == [("2020-02-29", "2020-02-29 21:30:00")]
    assert cdm.query(VISIT, other) == [("2020-07-01", "2020-07-01 00:00:00")]
    assert cdm.query("SELECT value_as_string FROM cdm.metadata WHERE name = 'omop_inc time zone'") == [("America/New_York",)]
    assert cdm.query("SELECT condition_start_date::text FROM cdm.condition_occurrence LIMIT 1") == [("2020-03-01",)]  # a date in the source
    assert cdm.run(folder, "verify", time_zone="America/New_York").status == "no_change"
    rebuilt = Cdm(cdm.url, cdm.state_dir, "rebuilt")
    rebuilt.run(folder, time_zone="America/New_York")
    assert differences(cdm.read(), rebuilt.read()) == []
    cdm.run(folder)
    assert cdm.query(VISIT, one) == [("2020-03-01", "2020-03-01 02:30:00")]


def test_unknown_time_zone_stops_the_run(cdm: Cdm, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="OMOP_INC_TIME_ZONE: the server knows no zone 'Mars/Olympus'"):
        cdm.run(write_snapshot(tmp_path / "a", small_world(1)), time_zone="Mars/Olympus")


def test_cut_texts_are_counted_of_the_rows_that_come_in(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world()
    world["observations"][0] |= {"VALUE": "ä" * 51, "TYPE": "text"}
    world["observations"][1] |= {"VALUE": "ä" * 50, "TYPE": "text"}  # 100 bytes, but 50 characters
    world["patients"][0]["ADDRESS"] = "x" * 51
    assert cdm.run(write_snapshot(tmp_path / "a", world)).cut_texts == {"observations.value": 1, "patients.address": 1}
    world["observations"][1]["VALUE"] = "y" * 61
    assert cdm.run(write_snapshot(tmp_path / "b", world)).cut_texts == {"observations.value": 1}
    reloaded = cdm.run(tmp_path / "b", "full_reload")
    assert reloaded.cut_texts == {"observations.value": 2, "patients.address": 1}
    assert reloaded.stored()["cut_texts"] == reloaded.cut_texts


def test_a_vocabulary_that_gives_a_code_further_targets_brings_their_rows(cdm: Cdm, tmp_path: Path) -> None:
    first, second = small_world(1), small_world(1)
    for world in (first, second):
        world["conditions"][0]["CODE"] = "900000001"
    second["patients"][0]["GENDER"] = "F"  # nothing of the condition differs
    cdm.query(
        "DELETE FROM vocab.concept_relationship WHERE concept_id_1 = 2000000001 AND relationship_id = 'Maps to' AND concept_id_2 <> 28060 RETURNING 1"
    )
    cdm.run(write_snapshot(tmp_path / "a", first))
    count = "SELECT count(*) FROM cdm.condition_occurrence WHERE condition_source_value = '900000001'"
    assert cdm.query(count) == [(1,)]
    cdm.query(
        "WITH mapped AS (INSERT INTO vocab.concept_relationship VALUES (2000000001, 81151, 'Maps to', '1970-01-01', '2099-12-31', NULL))"
        " UPDATE vocab.omop_inc_vocabulary SET fingerprint = fingerprint || '-more' RETURNING 1"
    )
    cdm.run_allowed(write_snapshot(tmp_path / "b", second))
    assert cdm.query(count) == [(2,)]
    assert cdm.run(tmp_path / "b", "verify").status == "no_change"
