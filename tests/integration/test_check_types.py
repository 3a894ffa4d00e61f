"""Every check that follows from facts has a row that passes it and one that fails it, both made from the facts.

The tables are those of the specification with one row each that is right in every respect; each check then sees its own row spoilt.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from omop_inc.cdm.quality import counting
from omop_inc.cdm.quality.catalogue import read_catalogue
from omop_inc.cdm.quality.conditions import DAYS_AFTER_DEATH, DAYS_AROUND_VISIT, bound_of
from omop_inc.cdm.quality.counting import Side
from omop_inc.cdm.quality.facts import Check, check_types, checked_tables, checks_of, fact_checks
from omop_inc.cdm.quality.plan import plan_counts
from omop_inc.cdm.quality.queries import check_queries
from omop_inc.cdm.quality.results import is_of_presence, presence
from omop_inc.cdm.quality.rows import World
from omop_inc.cdm.quality.samples import id_column, sample
from omop_inc.cdm.quality.violations import run_query
from omop_inc.cdm.spec import Field, cdm_tables, create_table
from omop_inc.runs.checking import homes
from omop_inc.store.schemas import Schemas, name
from tests.conftest import CreateDatabase

TODAY = date(2024, 5, 1)
BORN, START, END, DIED = date(1980, 6, 15), date(2020, 3, 1), date(2020, 3, 2), date(2020, 4, 1)
SCHEMAS = Schemas(cdm="checked", vocabulary="vocab")
# A concept of every domain and class that a fact asks for, from here on.
FIRST_CONCEPT = 2_100_000_000
CLASSIFICATION, INVALID = 2_100_900_000, 2_100_900_001
FEMALE, MALE = 8532, 8507


@dataclass
class Laboratory:
    """A schema with one good row per table, and what makes rows go wrong."""

    connection: psycopg.Connection[Any]
    concepts: dict[tuple[str, str], int]

    def execute(self, text: str, *values: Any) -> None:
        self.connection.execute(text, values)  # type: ignore[call-overload]

    def concept(self, domain: str, concept_class: str = "") -> int:
        """The standard concept of a domain, and of a class where one is asked for."""
        key = (domain, concept_class)
        if key not in self.concepts:
            self.concepts[key] = FIRST_CONCEPT + len(self.concepts)
            self.add_concept(self.concepts[key], domain, concept_class or "Undefined")
        return self.concepts[key]

    def add_concept(self, concept: int, domain: str, concept_class: str, standard: str | None = "S", invalid: str | None = None) -> None:
        self.execute(
            "INSERT INTO vocab.concept VALUES (%s, 'test', %s, 'None', %s, %s, %s, '19700101', '20991231', %s)",
            concept, domain, concept_class, standard, str(concept), invalid,
        )  # fmt: skip

    def set(self, check: Check, column: str, value: Any) -> None:
        statement = sql.SQL("UPDATE {} SET {} = %s").format(_home(check.table), sql.Identifier(column))
        self.connection.execute(statement, (value,))

    def count(self, check: Check) -> counting.Count:
        """What the check counts now."""
        catalogue = read_catalogue(self.connection, homes(SCHEMAS))
        world = World(schemas=SCHEMAS, state="committed", catalogue=catalogue)
        if is_of_presence(check):
            return presence(check, catalogue)
        if check.id in check_queries():
            return run_query(self.connection, check_queries()[check.id], world).count
        plan = plan_counts(world, check.table, [check], TODAY)
        found = counting.count(self.connection, plan, [Side(world=world, rows=world.table(check.table))], constraints=True)
        if check.id in found.values:
            values = found.values[check.id].values()
            return counting.Count(violated=sum(u > 0 for _, u in values), denominator=len(values))
        return found.counts[check.id]

    def ids(self, check: Check) -> tuple[int, ...]:
        """The ids that are shown of the rows that violate it."""
        world = World(schemas=SCHEMAS, state="committed", catalogue=read_catalogue(self.connection, homes(SCHEMAS)))
        return sample(self.connection, check, Side(world=world, rows=world.table(check.table)), TODAY)


def _home(table: str) -> sql.Identifier:
    return name("vocab" if cdm_tables()[table].schema == "vocab" else SCHEMAS.cdm, table)


@pytest.fixture
def laboratory(create_database: CreateDatabase, vocabulary_template: str) -> Iterator[Laboratory]:
    with psycopg.connect(create_database(template=vocabulary_template)) as connection:
        made = Laboratory(connection, {})
        made.execute("CREATE SCHEMA checked")
        made.execute("TRUNCATE vocab.source_to_concept_map, vocab.drug_strength")
        made.add_concept(CLASSIFICATION, "Nothing", "Nothing", standard="C")
        made.add_concept(INVALID, "Nothing", "Nothing", invalid="D")
        for table in cdm_tables().values():
            if table.schema == "cdm":
                connection.execute(create_table(table, SCHEMAS.cdm, constraints=False))
        for one in checked_tables():
            _add_good_row(made, one)
        made.concept("Other domain", "Other class")
        made.concept("Below")
        yield made


def _add_good_row(made: Laboratory, table: str) -> None:
    fields = cdm_tables()[table].fields
    values = [_good(made, table, field) for field in fields]
    statement = sql.SQL("INSERT INTO {} VALUES ({})").format(_home(table), sql.SQL(", ").join([sql.Placeholder()] * len(values)))
    made.connection.execute(statement, values)


def _good(made: Laboratory, table: str, field: Field) -> Any:
    """A value that passes every check of a field."""
    asked = {check.type: check for check in checks_of(table) if check.field == field.name}
    if "isForeignKey" in asked and asked["isForeignKey"].argument == "concept.concept_id":
        return made.concept(asked["fkDomain"].argument if "fkDomain" in asked else "Any", asked["fkClass"].argument if "fkClass" in asked else "")
    if field.name == "gender_concept_id" and table == "person":
        return FEMALE
    if field.type in ("date", "timestamp"):
        return _good_date(table, field.name)
    if field.name in ("year_of_birth", "month_of_birth", "day_of_birth"):
        return {"year": BORN.year, "month": BORN.month, "day": BORN.day}[field.name.split("_")[0]]
    if field.type in ("bigint", "integer", "numeric"):
        return 1
    return {"cost_domain_id": "Drug", "target_vocabulary_id": "SNOMED"}.get(field.name, "x")


def _good_date(table: str, field: str) -> date:
    if field == "birth_datetime":
        return BORN
    if field == "death_date" or field == "death_datetime":
        return DIED
    return END if "end" in field or field in ("cdm_release_date",) else START


def _alter(made: Laboratory, check: Check, what: str) -> None:
    """Change the definition of a check's table, or of its field where the text has a second place."""
    made.connection.execute(sql.SQL(what).format(_home(check.table), sql.Identifier(check.field or "none")))


def _empty(made: Laboratory, check: Check) -> None:
    if cdm_tables()[check.table].schema == "vocab":
        _alter(made, check, "ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL")
    made.set(check, str(check.field), None)


def _half(made: Laboratory, check: Check) -> None:
    _alter(made, check, "ALTER TABLE {} ALTER COLUMN {} TYPE numeric")
    made.set(check, str(check.field), 1.5)


def _beyond(made: Laboratory, check: Check) -> None:
    bound, sign = bound_of(check, TODAY), -1 if check.type == "plausibleValueLow" else 1
    made.set(check, str(check.field), bound + timedelta(days=sign) if isinstance(bound, date) else bound + sign)


def _before_the_other(made: Laboratory, check: Check) -> None:
    table, other = check.argument.split(".")
    made.set(check, str(check.field), BORN - timedelta(days=1) if table == "person" else START)
    if table != "person":
        made.set(check, other, START + timedelta(days=1))


def _end_before_start(made: Laboratory, check: Check) -> None:
    made.set(check, str(check.field), END)
    made.set(check, check.argument, END - timedelta(days=1))


def _other_gender(made: Laboratory, check: Check) -> None:
    made.execute("UPDATE checked.person SET gender_concept_id = %s", MALE if check.argument == "female" else FEMALE)


def _second_period(made: Laboratory, check: Check) -> None:
    made.execute("UPDATE checked.observation_period SET observation_period_id = 2, observation_period_start_date = %s", END + timedelta(days=1))
    _add_good_row(made, check.table)


def _set(value: Any) -> Callable[[Laboratory, Check], None]:
    return lambda made, check: made.set(check, str(check.field), value)


# DataQualityDashboard's fact compares this field with itself.
CANNOT_FAIL = {"plausibleStartBeforeEnd.cdm_source.source_release_date"}

# How the row comes to violate a check of each type.
SPOILT: dict[str, Callable[[Laboratory, Check], None]] = {
    "cdmTable": lambda made, check: _alter(made, check, "DROP TABLE {} CASCADE"),
    "cdmField": lambda made, check: _alter(made, check, "ALTER TABLE {} DROP COLUMN {} CASCADE"),
    "isRequired": _empty,
    "measureValueCompleteness": _empty,
    "cdmDatatype": _half,
    "isPrimaryKey": lambda made, check: _alter(made, check, "INSERT INTO {0} TABLE {0}"),
    "isForeignKey": lambda made, check: made.set(check, str(check.field), "nowhere" if check.argument.startswith(("domain.", "vocabulary.")) else -5),
    "fkDomain": lambda made, check: made.set(check, str(check.field), made.concept("Other domain", "Other class")),
    "fkClass": lambda made, check: made.set(check, str(check.field), made.concept("Other domain", "Other class")),
    "isStandardValidConcept": _set(CLASSIFICATION),
    "standardConceptRecordCompleteness": _set(0),
    "sourceConceptRecordCompleteness": _set(0),
    "sourceValueCompleteness": lambda made, check: made.set(check, check.argument, 0),
    "plausibleValueLow": _beyond,
    "plausibleValueHigh": _beyond,
    "plausibleTemporalAfter": _before_the_other,
    "plausibleDuringLife": _set(DIED + timedelta(days=DAYS_AFTER_DEATH + 1)),
    "plausibleBeforeDeath": _set(DIED + timedelta(days=DAYS_AFTER_DEATH + 1)),
    "withinVisitDates": _set(START - timedelta(days=DAYS_AROUND_VISIT + 1)),
    "plausibleAfterBirth": _set(BORN - timedelta(days=1)),
    "plausibleStartBeforeEnd": _end_before_start,
    "plausibleGender": _other_gender,
    "plausibleGenderUseDescendants": _other_gender,
    "plausibleUnitConceptIds": lambda made, check: made.set(check, "unit_concept_id", 1),
    "measurePersonCompleteness": lambda made, check: _alter(made, check, "DELETE FROM {}"),
    "measureConditionEraCompleteness": lambda made, check: _alter(made, check, "DELETE FROM {}"),
    "measureObservationPeriodOverlap": _second_period,
}


def _prepare(made: Laboratory, check: Check) -> None:
    """What a check of a concept needs to see at all: a good row of its concept."""
    if check.level != "concept":
        return
    concept = check.concepts[-1]
    made.set(check, str(check.field), concept)
    if check.type == "plausibleUnitConceptIds":
        unit = int(check.argument.split()[-1])
        made.set(check, "unit_concept_id", None if unit == -1 else unit)
        return
    made.execute("UPDATE checked.person SET gender_concept_id = %s", FEMALE if check.argument == "female" else MALE)
    if check.type == "plausibleGenderUseDescendants":
        below = made.concept("Below")
        made.set(check, str(check.field), below)
        made.execute("INSERT INTO vocab.concept_ancestor VALUES (%s, %s, 1, 1)", concept, below)


def _both_counts(made: Laboratory, check: Check) -> tuple[counting.Count, counting.Count, tuple[int, ...]]:
    with made.connection.transaction(force_rollback=True):
        _prepare(made, check)
        before = made.count(check)
        SPOILT[check.type](made, check)
        after = made.count(check)
        shown = made.ids(check) if check.level != "table" and not is_of_presence(check) else ()
        return before, after, shown


def _is_shown(check: Check) -> bool:
    """Whether ids of its violating rows can be shown: the row has one, and it is not the id that is wrong."""
    return check.level != "table" and not is_of_presence(check) and id_column(check.table) not in (None, check.field)


@pytest.mark.parametrize("table", checked_tables())
def test_each_check_passes_a_good_row_and_fails_one_that_is_spoilt(laboratory: Laboratory, table: str) -> None:
    wrong = []
    for check in checks_of(table):
        before, after, shown = _both_counts(laboratory, check)
        violated = 2 if check.type == "isPrimaryKey" else int(check.id not in CANNOT_FAIL)
        if (before.violated, before.denominator, after.violated) != (0, 1, violated):
            wrong.append(f"{check.id}: good {before}, spoilt {after}")
        elif violated and _is_shown(check) and not shown:
            wrong.append(f"{check.id}: no id is shown")
    assert wrong == []


def test_every_type_is_met() -> None:
    assert {check.type for check in fact_checks().values()} == set(check_types()) == set(SPOILT)


def test_a_death_or_a_visit_on_the_last_day_that_is_believed_is_plausible(laboratory: Laboratory) -> None:
    found = {check.type: check for check in checks_of("condition_occurrence") if check.field == "condition_start_date"}
    laboratory.set(found["plausibleBeforeDeath"], "condition_start_date", DIED + timedelta(days=DAYS_AFTER_DEATH))
    assert laboratory.count(found["plausibleBeforeDeath"]).violated == 0
    laboratory.set(found["withinVisitDates"], "condition_start_date", START - timedelta(days=DAYS_AROUND_VISIT))
    assert laboratory.count(found["withinVisitDates"]).violated == 0


def test_a_concept_without_standard_mark_violates_nothing_and_an_invalid_one_does(laboratory: Laboratory) -> None:
    check = fact_checks()["isStandardValidConcept.condition_occurrence.condition_concept_id"]
    laboratory.add_concept(2_100_900_002, "Condition", "x", standard=None)
    laboratory.set(check, "condition_concept_id", 2_100_900_002)
    assert laboratory.count(check).violated == 0
    laboratory.set(check, "condition_concept_id", INVALID)
    assert laboratory.count(check).violated == 1


def test_rows_without_what_they_are_looked_up_in_are_in_no_denominator(laboratory: Laboratory) -> None:
    laboratory.execute("DELETE FROM checked.death")
    check = fact_checks()["plausibleBeforeDeath.condition_occurrence.condition_start_date"]
    assert laboratory.count(check) == counting.Count()
    laboratory.execute("UPDATE checked.condition_occurrence SET visit_occurrence_id = 9")
    assert laboratory.count(fact_checks()["withinVisitDates.condition_occurrence.condition_start_date"]) == counting.Count()


def test_facts_of_another_day_move_the_bound(laboratory: Laboratory) -> None:
    check = fact_checks()["plausibleValueHigh.condition_occurrence.condition_start_date"]
    assert bound_of(check, TODAY) == date(2024, 5, 2)
    assert bound_of(replace(check, argument="next_year"), TODAY) == 2025
