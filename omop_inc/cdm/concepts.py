"""The concepts that the mapping names by id, each with its name.

Belongs here: ids that a transform writes without looking a source code up. Does not: codes of the source.
A fixed concept that the loaded vocabulary lacks is written as 0 and named in a warning (code_map.py).

Source: OMOP Standardized Vocabularies; the choice of concepts: docs/mapping/.
"""

from collections.abc import Mapping
from types import MappingProxyType

FIXED_CONCEPTS: Mapping[int, str] = MappingProxyType(
    {
        # Type concepts: where a record comes from
        32810: "Claim",
        32814: "Cost record",
        32817: "EHR",
        32818: "EHR administration record",
        32827: "EHR encounter record",
        32838: "EHR prescription",
        32880: "Standard algorithm",
        32882: "Standard algorithm from EHR",
        # Visits
        262: "Emergency Room and Inpatient Visit",
        5083: "Telehealth",
        8546: "Hospice",
        8782: "Urgent Care Facility",
        9201: "Inpatient Visit",
        9202: "Outpatient Visit",
        9203: "Emergency Room Visit",
        581476: "Home Visit",
        42898160: "Non-hospital institution Visit",
        # Gender, race, ethnicity
        8507: "MALE",
        8532: "FEMALE",
        8515: "Asian",
        8516: "Black or African American",
        8527: "White",
        8557: "Native Hawaiian or Other Pacific Islander",
        8657: "American Indian or Alaska Native",
        38003563: "Hispanic or Latino",
        38003564: "Not Hispanic or Latino",
        # Condition status
        32902: "Primary diagnosis",
        # Specialties; others are found by their Medicare specialty code
        38004446: "General Practice",
        # Currency
        44818668: "United States dollar",
        # Country
        42046186: "United States of America",
        # What a fact_relationship links: the facts' domains, and how
        10: "Procedure",
        13: "Drug",
        17: "Device",
        19: "Condition",
        21: "Measurement",
        27: "Observation",
        36: "Specimen",
        44818743: "Has procedure site (SNOMED)",
        44818841: "Procedure site of (SNOMED)",
        46233684: "Relevant condition of",
        46233685: "Condition relevant to",
        # What an *_event_id points at
        1147127: "condition_occurrence.condition_occurrence_id",
        1147165: "observation.observation_id",
        # The CDM's version; one of the two is enough
        756265: "OMOP CDM Version 5.4.0",
        798878: "OMOP CDM Version 5.4.1",
    }
)

# Preferred first: the newest of CDM 5.4 that the mapping names.
CDM_VERSION_CONCEPTS = (798878, 756265)


def missing_concepts(present: set[int]) -> tuple[int, ...]:
    """The fixed concepts that a vocabulary lacks, ascending; of the CDM's versions one is enough."""
    missing = set(FIXED_CONCEPTS) - present
    if present & set(CDM_VERSION_CONCEPTS):
        missing -= set(CDM_VERSION_CONCEPTS)
    return tuple(sorted(missing))
