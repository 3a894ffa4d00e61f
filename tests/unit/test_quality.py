"""The checks' facts, their files' headers, and what counts mean; no database."""

from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from omop_inc.cdm.quality.catalogue import Catalogue, Column
from omop_inc.cdm.quality.conditions import is_of_rows, question
from omop_inc.cdm.quality.counting import Count
from omop_inc.cdm.quality.facts import Check, check_types, checked_tables, fact_checks
from omop_inc.cdm.quality.plan import looked_up_in
from omop_inc.cdm.quality.queries import Amount, check_queries, parse_check
from omop_inc.cdm.quality.results import CheckResult, is_exceeded, judge, tally
from omop_inc.cdm.spec import cdm_tables
from omop_inc.errors import CheckFileError
from omop_inc.store.check_ledger import StoredResult
from omop_inc.telling.checks import result_rows

# DataQualityDashboard 2.8.4, CDM 5.4, its vocabulary tables left out.
NUMBERS = {
    "cdmTable": 31, "measurePersonCompleteness": 16, "measureConditionEraCompleteness": 1, "measureObservationPeriodOverlap": 1,
    "cdmField": 391, "isRequired": 145, "cdmDatatype": 197, "isPrimaryKey": 23, "isForeignKey": 163, "fkDomain": 43, "fkClass": 3,
    "isStandardValidConcept": 64, "measureValueCompleteness": 391, "standardConceptRecordCompleteness": 48,
    "sourceConceptRecordCompleteness": 13, "sourceValueCompleteness": 32, "plausibleValueLow": 68, "plausibleValueHigh": 60,
    "plausibleTemporalAfter": 51, "plausibleDuringLife": 34, "withinVisitDates": 9, "plausibleAfterBirth": 49, "plausibleBeforeDeath": 47,
    "plausibleStartBeforeEnd": 22, "plausibleGender": 287, "plausibleGenderUseDescendants": 4, "plausibleUnitConceptIds": 181,
}  # fmt: skip
GOOD = "-- Why.\n-- reads: person (person_id)\n-- denominator: person\nSELECT person_id FROM person\n"
HAS = Column(is_whole=True, is_required=False, is_unique=False)


def test_every_check_of_the_field_is_there() -> None:
    assert Counter(check.type for check in fact_checks().values()) == NUMBERS
    assert sum(NUMBERS.values()) == 2374


def test_severities_are_those_of_the_field() -> None:
    assert Counter(check.severity for check in fact_checks().values()) == {"fail": 951, "warn": 1423}
    assert {name for name, one in check_types().items() if one.is_deprecated} == {"plausibleTemporalAfter", "plausibleDuringLife", "plausibleGender"}


def test_facts_name_tables_and_fields_of_the_specification() -> None:
    named = {(check.table, check.field) for check in fact_checks().values()}
    assert [one for one in sorted(named, key=str) if one[0] not in cdm_tables()] == []
    assert [one for one in sorted(named, key=str) if one[1] is not None and one[1] not in cdm_tables()[one[0]].columns] == []


def test_every_table_of_the_cdm_but_the_vocabulary_s_is_checked() -> None:
    vocabulary = {"source_to_concept_map", "drug_strength"}
    own = {name for name, table in cdm_tables().items() if table.schema == "cdm"}
    assert own - set(checked_tables()) <= {"episode", "episode_event"}
    assert set(checked_tables()) - own == vocabulary


def test_thresholds_are_percentages_and_fingerprints_tell_meanings_apart() -> None:
    checks = fact_checks().values()
    assert all(0 <= check.threshold <= 100 for check in checks)
    assert len({check.fingerprint for check in checks}) == len(fact_checks())


def test_every_shipped_file_says_what_it_is() -> None:
    files = {key: query for key, query in check_queries().items() if query.check.level == "file"}
    assert len(files) >= 15
    for key, query in files.items():
        assert query.text.startswith("-- "), key
        assert "-- source: docs/" in query.text and "-- severity: " in query.text and "-- scope: " in query.text, key
        assert query.check.threshold == 0, key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(GOOD.replace("-- reads: person (person_id)\n", ""), "expected the lines '-- reads:", id="no reads"),
        pytest.param(GOOD.replace("-- denominator: person\n", ""), "expected the lines '-- reads:", id="no denominator"),
        pytest.param(GOOD.replace("reads: person", "reads: persons"), "'persons .person_id.' names no source table", id="unknown table"),
        pytest.param("-- severity: fatal\n" + GOOD, "'-- severity: fatal'; expected fail or warn", id="unknown severity"),
        pytest.param("-- scope: patient\n" + GOOD, "expected row or person or whole", id="unknown scope"),
        pytest.param("-- threshold: 101\n" + GOOD, "expected a percentage", id="threshold beyond 100"),
        pytest.param("-- threshold: few\n" + GOOD, "expected a percentage", id="threshold in words"),
        pytest.param("-- balance: person\n" + GOOD, "'-- balance: person'; expected", id="balance without a column"),
        pytest.param("-- balance: cost (total_charge)\n" + GOOD, "expected '<table that is read>", id="balance of a table that is not read"),
        pytest.param("-- treshold: 5\n" + GOOD, "unknown line '-- treshold:'", id="misspelt line"),
    ],
)
def test_wrong_header_names_its_file(text: str, message: str) -> None:
    with pytest.raises(CheckFileError, match=rf"^own/odd\.sql: .*{message}"):
        parse_check("odd", text, "own/odd.sql")


def test_header_has_defaults() -> None:
    query = parse_check("odd", GOOD, "odd.sql")
    assert (query.check.severity, query.check.threshold, query.scope, query.looks_up) == ("warn", 0.0, "whole", {})
    assert query.reads == {"person": ("person_id",)}


def test_header_tells_what_is_looked_up_by_and_which_sums_balance() -> None:
    query = parse_check(
        "odd", "-- looks up: visit_detail (visit_detail_id)\n-- balance: person (year_of_birth where person_id > 1)\n" + GOOD, "odd.sql"
    )
    assert query.looks_up == {"visit_detail": ("visit_detail_id",)}
    assert query.balance == (Amount(table="person", column="year_of_birth", where="person_id > 1"),)


def test_own_check_may_not_take_another_s_name(tmp_path: Path) -> None:
    (tmp_path / "empty_table.sql").write_text(GOOD)
    with pytest.raises(CheckFileError, match="'empty_table' is that of another check"):
        check_queries(tmp_path)


@pytest.mark.parametrize(
    ("threshold", "violated", "denominator", "expected"),
    [(0, 0, 10, False), (0, 1, 10, True), (5, 5, 100, False), (5, 6, 100, True), (5, 1, 0, True), (100, 10, 10, False)],
)
def test_threshold(threshold: float, violated: int, denominator: int, expected: bool) -> None:
    check = replace(_check("isRequired"), threshold=threshold)
    assert is_exceeded(check, Count(violated=violated, denominator=denominator)) is expected


def _check(check_type: str, field: str | None = "person_id") -> Check:
    return next(c for c in fact_checks().values() if c.type == check_type and c.table == "observation_period" and c.field in (field, None))


def _status(check: Check, catalogue: Catalogue, **counts: Count) -> str:
    of = {"own": check.id, "filled": "measureValueCompleteness.observation_period.person_id"}
    return judge([check], {of[key]: count for key, count in counts.items()}, catalogue, {})[0].status


def test_status_rules() -> None:
    there = Catalogue(tables={"observation_period": {"person_id": HAS}})
    gone = Catalogue()
    full, none = Count(violated=0, denominator=3), Count(violated=3, denominator=3)
    assert _status(_check("cdmTable"), gone, own=Count(violated=1, denominator=1)) == "failed"
    assert _status(_check("cdmField"), gone, own=Count(violated=1, denominator=1)) == "not_applicable"
    assert _status(_check("cdmField"), there, own=Count(violated=1, denominator=1)) == "failed"
    assert _status(_check("isForeignKey"), there, own=full, filled=full) == "passed"
    assert _status(_check("isForeignKey"), there, own=full, filled=none) == "not_applicable"
    assert _status(_check("isForeignKey"), there, own=Count(), filled=Count()) == "not_applicable"
    assert _status(_check("isForeignKey"), there) == "not_applicable"
    assert _status(_check("isRequired"), there, own=none, filled=none) == "not_applicable"
    assert _status(_check("measureValueCompleteness"), there, own=none, filled=none) == "failed"
    assert _status(_check("measurePersonCompleteness"), there, own=none) == "failed"


def test_a_failed_check_that_warns_stops_nothing_and_is_counted_apart() -> None:
    check, count = _check("isRequired"), Count(violated=1, denominator=2)
    found = [CheckResult(check=replace(check, severity=s), count=count, status="failed") for s in ("fail", "warn")]
    assert [one.stops for one in found] == [True, False]
    assert tally(found) == {"passed": 0, "failed": 1, "warned": 1, "not_applicable": 0}
    assert result_rows(found)[0]["percent"] == 50.0


def test_results_of_another_day_alone_are_another_result() -> None:
    one = StoredResult(
        check_id="x", fingerprint="f", severity="warn", threshold=0, violated=1, denominator=2, status="failed", samples=(), as_of=date(2024, 5, 1)
    )
    assert one != one._replace(as_of=date(2024, 5, 2))


def test_the_tables_that_a_check_looks_up_are_told_as_its_condition_says() -> None:
    for check in fact_checks().values():
        if is_of_rows(check):
            named = {lookup.table for condition in question(check, date(2024, 5, 1)).conditions for lookup in condition.lookups}
            assert named <= set(looked_up_in(check)), check.id
