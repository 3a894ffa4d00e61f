"""The verify flow's ends, and the reports that a run leaves on Prefect's pages."""

from pathlib import Path

import psycopg
import pytest
from prefect.artifacts import Artifact

from flows.incremental import incremental
from flows.verify import verify
from omop_inc.errors import EXIT_FAILED
from omop_inc.runs.snapshots import Request, apply_snapshot
from omop_inc.settings import load_settings
from tests.flows.test_flows import run

pytestmark = pytest.mark.xdist_group("prefect")


def test_verify_is_equal_until_somebody_alters_a_row(flow_database: str, snapshots: list[Path], vocabulary: Path) -> None:
    apply_snapshot(Request(source=snapshots[0], vocabulary=vocabulary), load_settings())

    equal = run(verify, source=str(snapshots[0]))

    assert (equal.type, equal.name) == ("COMPLETED", "NoChange"), equal.message
    assert str(equal.message).startswith("Equal: all ")
    with psycopg.connect(flow_database) as connection:
        connection.execute("UPDATE cdm.person SET year_of_birth = 1907 WHERE person_id = (SELECT min(person_id) FROM cdm.person)")

    different = run(verify, source=str(snapshots[0]))

    assert (different.type, different.name) == ("FAILED", "Failed")
    assert "person: 1 rows only in the CDM, 1 only in the rebuild (person_id=" in str(different.message)
    assert "1907" not in str(different.message)
    assert different.result(raise_on_failure=False).exit_code == EXIT_FAILED


def test_run_shows_outcomes_and_mapping_without_values_of_rows(flow_database: str, snapshots: list[Path], vocabulary: Path) -> None:
    run(incremental, source=str(snapshots[0]), vocabulary=str(vocabulary), cdm_schema="shown")

    names = ("outcomes", "mapped-share", "unmapped-codes", "unmapped-answers")
    found = {name: artifact for name in names if (artifact := Artifact.get(f"shown-{name}"))}

    assert found.keys() == set(names)
    assert '"source table": "patients", "outcome": "person"' in str(found["outcomes"].data)
    assert '"cdm_table": "condition_occurrence", "field": "condition_concept_id", "domain": "Condition"' in str(found["mapped-share"].data)
    with psycopg.connect(flow_database) as connection:
        answers = connection.execute("SELECT DISTINCT value_source_value FROM shown.observation WHERE value_as_concept_id = 0").fetchall()
        descriptions = connection.execute("SELECT DISTINCT description FROM shown_staging.conditions").fetchall()
    assert answers and descriptions
    shown = str(found["unmapped-answers"].data)
    assert '"distinct": ' in shown and not [answer for (answer,) in answers if answer and f'"{answer}"' in shown]
