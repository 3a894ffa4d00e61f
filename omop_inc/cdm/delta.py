"""What an increment knows of its own changes, shared by scope, world and publishing; no statement is run here."""

from dataclasses import dataclass, field

from omop_inc.cdm.spec import cdm_tables
from omop_inc.store.schemas import Schemas

# CDM tables without a person column whose rows belong to a person all the same: the result carries the person beside.
PERSON_BESIDE = ("cost", "fact_relationship")


@dataclass(kw_only=True)
class Delta:
    """What an increment knows of its own changes."""

    schemas: Schemas
    settled: set[str]  # source tables with _in and _out tables
    whole: frozenset[str] = frozenset()  # transforms that look at every person: their SQL or the vocabulary changed
    forced: frozenset[str] = frozenset()  # transforms that run although no row changed: a run parameter did
    ran: set[str] = field(default_factory=set)  # transforms that have a result
    changed: set[str] = field(default_factory=set)  # of these, those with rows that leave or enter the CDM


def has_person(table: str) -> bool:
    """Whether the rows of a CDM table belong to persons."""
    return table in PERSON_BESIDE or cdm_tables()[table].person_column is not None


def scope_name(transform: str) -> str:
    """The run's table of a transform's persons."""
    return f"scope_{transform}"


def encounter_scope_name(transform: str) -> str:
    """The run's table of the encounters that a transform looks at, of persons whom it does not look at whole."""
    return f"scope_{transform}_encounter"
