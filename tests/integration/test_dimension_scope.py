"""Increments look at the Ids of a dimension, and at the places, of which a row came or went, and come out as a rebuild does."""

from pathlib import Path

from omop_inc.cdm.dimensions import by_unit
from omop_inc.cdm.spec import cdm_tables
from omop_inc.store.staging import PLACE_CHARS
from omop_inc.telling.summary import Summary
from tests.factories import World, row, small_world, uid
from tests.stores import Cdm

LONG = "1 Very Long Road of which a location holds the beginning"
OF_DIMENSIONS = ("care_site", "location", "provider")


def looked_at(summary: Summary) -> dict[str, int]:
    """How many rows the transforms without a person wrote in this run, changed or not."""
    found = {one.table: one.rows_written for one in summary.timings if one.step == "transform" and one.rows_in}
    return {str(table): rows for table, rows in found.items() if table in OF_DIMENSIONS}


def changed(summary: Summary) -> dict[str, tuple[int, int]]:
    """Rows that came to and went from these tables."""
    counts = {table: summary.cdm_tables[table] for table in OF_DIMENSIONS}
    return {table: (one["inserted"], one["deleted"]) for table, one in counts.items() if one["inserted"] or one["deleted"]}


def world_of(*addresses: str) -> World:
    """Two people with organizations and providers, and an organization for each address."""
    world = small_world(2)
    more = [row("organizations", Id=uid("organizations", 50 + number), ADDRESS=address) for number, address in enumerate(addresses)]
    return {**world, "organizations": [*world["organizations"], *more]}


def moved(world: World, table: str, number: int, **values: str) -> World:
    """A world of which one row differs."""
    rows = [one | values if at == number else one for at, one in enumerate(world[table])]
    return {**world, table: rows}


def test_a_move_looks_at_the_two_places_alone(cdm: Cdm, tmp_path: Path) -> None:
    world = world_of("8 Way", "9 Way")
    summary = cdm.run_in_turn(tmp_path, world, moved(world, "patients", 0, ADDRESS="3 Street"))
    assert looked_at(summary) == {"location": 2}  # the other patient still lives at the old one
    assert changed(summary) == {"location": (1, 0)}


def test_a_place_goes_with_the_last_who_was_there(cdm: Cdm, tmp_path: Path) -> None:
    world = moved(world_of(), "patients", 0, ADDRESS="3 Street")
    summary = cdm.run_in_turn(tmp_path, world, moved(world, "patients", 0, ADDRESS="4 Street"))
    assert changed(summary) == {"location": (1, 1)}


def test_a_place_stays_that_another_tables_row_names(cdm: Cdm, tmp_path: Path) -> None:
    world = moved(world_of(), "providers", 0, ADDRESS="1 Road", ZIP="02134")
    summary = cdm.run_in_turn(tmp_path, world, moved(world, "providers", 0, ADDRESS="7 Road"))
    assert changed(summary) == {"location": (1, 0)}


def test_a_place_is_found_by_what_a_location_holds_of_its_address(cdm: Cdm, tmp_path: Path) -> None:
    assert len(LONG) > PLACE_CHARS
    world = world_of(LONG, LONG + " and its end")
    summary = cdm.run_in_turn(tmp_path, world, moved(world, "organizations", -2 % len(world["organizations"]), ADDRESS="8 Way"))
    assert changed(summary) == {"care_site": (1, 1), "location": (1, 0)}


def test_a_place_without_an_address_is_found(cdm: Cdm, tmp_path: Path) -> None:
    world = moved(moved(world_of("", ""), "organizations", 2, CITY="Lynn"), "organizations", 3, CITY="Lynn")
    summary = cdm.run_in_turn(tmp_path, world, moved(world, "organizations", 2, ADDRESS="8 Way"))
    assert changed(summary) == {"care_site": (1, 1), "location": (1, 0)}


def test_a_row_without_any_place_is_looked_at_by_nobody(cdm: Cdm, tmp_path: Path) -> None:
    nowhere = {"ADDRESS": "", "CITY": "", "STATE": "", "ZIP": "", "COUNTY": "", "LAT": "", "LON": ""}
    world = moved(world_of(), "patients", 0, **nowhere)
    summary = cdm.run_in_turn(tmp_path, world, moved(world, "patients", 0, BIRTHDATE="1981-01-01"))
    assert looked_at(summary) == {}


def test_an_organization_is_looked_at_by_its_id(cdm: Cdm, tmp_path: Path) -> None:
    world = world_of("8 Way", "9 Way")
    summary = cdm.run_in_turn(tmp_path, world, moved(world, "organizations", 2, NAME="Hospital"))
    assert looked_at(summary) == {"care_site": 1}
    assert changed(summary) == {"care_site": (1, 1)}


def test_two_rows_of_an_id_make_the_first_ones_care_site(cdm: Cdm, tmp_path: Path) -> None:
    world = world_of("8 Way")
    world["organizations"].append({**world["organizations"][2], "NAME": "Annex"})
    summary = cdm.run_in_turn(tmp_path, world, {**world, "organizations": world["organizations"][:3]})
    assert changed(summary) == {"care_site": (1, 1)}


def test_an_organization_that_goes_leaves_its_providers_without_care_site(cdm: Cdm, tmp_path: Path) -> None:
    world = world_of()
    assert world["providers"][0]["ORGANIZATION"] == world["organizations"][0]["Id"] != world["providers"][1]["ORGANIZATION"]
    summary = cdm.run_in_turn(tmp_path, world, {**world, "organizations": world["organizations"][1:]})
    assert looked_at(summary)["provider"] == 1
    assert changed(summary)["provider"] == (1, 1)
    assert cdm.query("SELECT count(*) FROM cdm.provider WHERE care_site_id IS NULL") == [(1,)]


def test_after_a_change_of_their_sql_they_look_at_all(cdm: Cdm, tmp_path: Path) -> None:
    world = world_of("8 Way")
    cdm.run_in_turn(tmp_path, world)
    older = "fingerprint - 'transform:location' - 'transform:care_site' - 'transform:provider'"
    cdm.query(f"UPDATE cdm_ledger.run SET fingerprint = {older} RETURNING 1")
    summary = cdm.run_in_turn(tmp_path / "next", moved(world, "patients", 0, BIRTHDATE="1981-01-01"))
    assert looked_at(summary) == {"care_site": 3, "location": 5, "provider": 2}
    assert changed(summary) == {}


def test_the_transforms_that_have_a_unit_are_known() -> None:
    assert {file.name: file.dimension for file in by_unit()} == {"care_site": "organizations", "location": "place", "provider": "providers"}
    (address,) = (field for field in cdm_tables()["location"].fields if field.name == "address_1")
    assert address.type == f"varchar({PLACE_CHARS})"
