"""Reports of mapping: shares, unmapped codes with descriptions, the template's round trip, cells that no spreadsheet runs."""

import csv
import io
import shutil
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from omop_inc.cli import app
from omop_inc.store.schemas import Schemas
from omop_inc.telling.exports import TEMPLATE, csv_text, guarded
from omop_inc.telling.mapping import Report, read_reports
from tests.factories import row, small_world, uid
from tests.stores import Cdm, make_vocabulary
from tests.worlds import write_snapshot

SCHEMAS = Schemas(cdm="cdm", vocabulary="vocab")
UNMAPPED = "90000-none"
FLU_LIKE = 28060  # of the example's vocabulary: a standard condition


def unmapped_world() -> dict[str, list[dict[str, str]]]:
    world = small_world(2)
    for number in (0, 1):
        person = {"PATIENT": uid("patients", number), "ENCOUNTER": uid("encounters", 2 * number)}
        world["conditions"].append(row("conditions", **person, CODE=UNMAPPED, DESCRIPTION="=1+1, a trouble"))
    person = {"PATIENT": uid("patients", 0), "ENCOUNTER": uid("encounters", 0)}
    world["observations"].append(row("observations", **person, CODE="99999-0", DESCRIPTION="Odd", VALUE="Zweig", UNITS="furlong", TYPE="text"))
    world["devices"].append(row("devices", **person, CODE="=HYPERLINK()", DESCRIPTION="Trap"))
    world["conditions"].append(row("conditions", PATIENT=uid("patients", 0), ENCOUNTER=uid("encounters", 77)))  # waits for its encounter
    return world


def reports(cdm: Cdm) -> dict[str, Report]:
    with psycopg.connect(cdm.url) as connection:
        return {report.name: report for report in read_reports(connection, SCHEMAS)}


def test_reports_count_what_is_not_mapped_and_not_loaded(cdm: Cdm, tmp_path: Path) -> None:
    cdm.run(write_snapshot(tmp_path / "a", unmapped_world()))
    found = reports(cdm)
    codes = {(r["vocabulary_id"], r["code"]): r for r in found["unmapped_codes"].dicts()}
    assert codes["SNOMED", UNMAPPED] == {
        "vocabulary_id": "SNOMED", "code": UNMAPPED, "description": "=1+1, a trouble", "cdm_tables": "condition_occurrence",
        "source_tables": "conditions", "records": 2,
    }  # fmt: skip
    assert codes["LOINC", "99999-0"]["description"] == "Odd"
    records = [r["records"] for r in found["unmapped_codes"].dicts()]
    assert records == sorted(records, reverse=True)
    ((zero, total),) = cdm.query("SELECT count(*) FILTER (WHERE condition_concept_id = 0), count(*) FROM cdm.condition_occurrence")
    share = next(r for r in found["mapped_share"].dicts() if r["cdm_table"] == "condition_occurrence")
    assert (share["domain"], share["records"], share["with_standard_concept"]) == ("Condition", total, total - zero)
    assert zero == sum(r["records"] for r in found["unmapped_codes"].dicts() if r["cdm_tables"] == "condition_occurrence")
    assert ("furlong", 1) in found["unmapped_units"].rows
    assert ("99999-0", "Zweig", 1) in found["unmapped_answers"].rows and found["unmapped_answers"].has_values
    assert found["held_rows"].rows == (("conditions", "pending", "parent_encounter", "", 1),)


def test_filled_template_loads_with_the_vocabulary_and_maps_the_code(cdm: Cdm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMOP_INC_DATABASE_URL", cdm.url)
    monkeypatch.setenv("OMOP_INC_STATE_DIR", str(tmp_path / "state"))
    snapshot = write_snapshot(tmp_path / "a", unmapped_world())
    cdm.run(snapshot)
    with psycopg.connect(cdm.url) as connection:
        kept = "INSERT INTO vocab.source_to_concept_map VALUES ('mine', 0, 'SNOMED', NULL, %s, 'SNOMED', '19700101', '20991231', NULL)"
        connection.execute(kept, (FLU_LIKE,))
    told = CliRunner().invoke(app, ["report", "--output", str(tmp_path / "out"), "--most", "1"])
    assert told.exit_code == 0, told.exception
    assert "1 codes or units are not in the template" in told.stdout
    template = tmp_path / "out" / TEMPLATE
    lines = [line.split("\t") for line in template.read_text().splitlines()]
    assert {len(line) for line in lines} == {9}
    assert ["mine", "0", "SNOMED", "", str(FLU_LIKE), "SNOMED", "19700101", "20991231", ""] in lines
    assert [UNMAPPED, "0", "SNOMED", "'=1+1, a trouble", "0", "None", "19700101", "20991231", ""] in lines
    assert ["furlong", "0", "UCUM", "unit furlong", "0", "None", "19700101", "20991231", ""] in lines

    filled = [line for line in lines if line[0] in ("source_code", "mine")]
    filled += [[*line[:4], str(FLU_LIKE), "SNOMED", *line[6:]] for line in lines if line[0] == UNMAPPED]
    vocabulary = make_vocabulary(tmp_path / "vocabulary")
    shutil.copyfile(template, vocabulary / TEMPLATE)
    (vocabulary / TEMPLATE).write_text("".join("\t".join(line) + "\n" for line in filled))
    loaded = CliRunner().invoke(app, ["run", str(snapshot), "--vocabulary", str(vocabulary)])
    assert loaded.exit_code == 0, loaded.exception

    assert cdm.query("SELECT DISTINCT condition_concept_id FROM cdm.condition_occurrence WHERE condition_source_value = %s", UNMAPPED) == [
        (FLU_LIKE,)
    ]
    assert cdm.query("SELECT count(*) FROM vocab.source_to_concept_map") == [(2,)]
    assert UNMAPPED not in {r["code"] for r in reports(cdm)["unmapped_codes"].dicts()}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_cell_that_a_spreadsheet_would_run_is_guarded(start: str) -> None:
    report = Report(name="x", title="X", columns=("a", "b"), rows=((f"{start}cmd", 3), ("plain=1", -3)))
    read = list(csv.reader(io.StringIO(csv_text(report), newline="")))
    assert guarded(f"{start}cmd") == f"'{start}cmd"
    assert read == [["a", "b"], [f"'{start}cmd", "3"], ["plain=1", "-3"]]
