"""People, where they live, where care is given, and deaths.

Belongs here: location, care_site, provider, person, death. Does not: what happens to people (visits.py, events.py).
Source: docs/mapping of these tables.
"""

from typing import Any

from tests.oracle.concepts import Vocabulary
from tests.oracle.fates import World
from tests.oracle.labels import Record, content_label, cut, label
from tests.oracle.source import SourceRow
from tests.oracle.visits import order_of

GENDERS = {"m": 8507, "f": 8532}
RACES = {"white": 8527, "black": 8516, "asian": 8515, "native": 8657, "hawaiian": 8557}
ETHNICITIES = {"hispanic": 38003563, "nonhispanic": 38003564}
CERTIFICATE = "308646001"
UNITED_STATES = 42046186
# USPS publication 28, appendix B, without the possessions but Puerto Rico.
STATES = {
    "alabama": "AL", "alaska": "AK", "arizona": "AZ", "arkansas": "AR", "california": "CA", "colorado": "CO", "connecticut": "CT",
    "delaware": "DE", "district of columbia": "DC", "florida": "FL", "georgia": "GA", "hawaii": "HI", "idaho": "ID", "illinois": "IL",
    "indiana": "IN", "iowa": "IA", "kansas": "KS", "kentucky": "KY", "louisiana": "LA", "maine": "ME", "maryland": "MD",
    "massachusetts": "MA", "michigan": "MI", "minnesota": "MN", "mississippi": "MS", "missouri": "MO", "montana": "MT", "nebraska": "NE",
    "nevada": "NV", "new hampshire": "NH", "new jersey": "NJ", "new mexico": "NM", "new york": "NY", "north carolina": "NC",
    "north dakota": "ND", "ohio": "OH", "oklahoma": "OK", "oregon": "OR", "pennsylvania": "PA", "puerto rico": "PR", "rhode island": "RI",
    "south carolina": "SC", "south dakota": "SD", "tennessee": "TN", "texas": "TX", "utah": "UT", "vermont": "VT", "virginia": "VA",
    "washington": "WA", "west virginia": "WV", "wisconsin": "WI", "wyoming": "WY",
}  # fmt: skip
# Medicare's specialty codes of some specialties that Synthea names.
SPECIALTIES = {
    "general practice": "1", "cardiology": "6", "internal medicine": "11", "diagnostic radiology": "30", "nurse practitioner": "50",
    "audiologist": "64", "physical therapy": "65", "physician assistant": "97",
}  # fmt: skip


def place_of(row: SourceRow, vocabulary: Vocabulary) -> Record | None:
    """The location of a row with an address; nothing without one."""
    state, is_american = _state(row["state"])
    place: dict[str, Any] = {
        "address_1": cut(row["address"], 50),
        "city": cut(row["city"], 50),
        "state": state,
        "zip": cut(row["zip"], 9),
        "county": cut(row.get("county"), 20),
        "latitude": row["lat"],
        "longitude": row["lon"],
    }
    if all(value is None for value in place.values()):
        return None
    parts = [place["address_1"], place["city"], state, place["zip"]]
    known = ", ".join(part for part in parts if part)
    place["location_source_value"] = cut(known, 50) or None
    place["country_concept_id"] = vocabulary.fixed(UNITED_STATES) if is_american else None
    return place


def _state(text: str | None) -> tuple[str | None, bool]:
    """A state's two letters, and whether it is one of the United States."""
    if text is None:
        return None, False
    letters = STATES.get(text.lower()) or (text.upper() if text.upper() in STATES.values() else None)
    if letters:
        return letters, True
    return (text.upper() if len(text) == 2 else None), False


def _place_label(row: SourceRow, vocabulary: Vocabulary) -> str | None:
    place = place_of(row, vocabulary)
    return content_label(place, "location") if place else None


def locations(world: World, vocabulary: Vocabulary) -> list[Record]:
    """The rows of location: each place once."""
    rows = [row for table in ("patients", "organizations", "providers") for row in world.rows[table]]
    places = {content_label(place, "location"): place for place in (place_of(row, vocabulary) for row in rows) if place}
    return [place | {"location_id": name} for name, place in places.items()]


def care_sites(world: World, vocabulary: Vocabulary) -> list[Record]:
    """The rows of care_site."""
    return [
        {
            "care_site_id": label(row),
            "care_site_name": cut(row["name"], 255),
            "place_of_service_concept_id": 0,
            "location_id": _place_label(row, vocabulary),
            "care_site_source_value": row["id"],
        }
        for row in world.rows["organizations"]
    ]


def providers(world: World, vocabulary: Vocabulary) -> list[Record]:
    """The rows of provider."""
    known = world.by_id["organizations"]
    return [
        {
            "provider_id": label(row),
            "provider_name": cut(row["name"], 255),
            "specialty_concept_id": _specialty(row["speciality"], vocabulary),
            "care_site_id": label(known[row["organization"]]) if row["organization"] in known else None,
            "gender_concept_id": vocabulary.fixed(GENDERS.get((row["gender"] or "").lower(), 0)),
            "provider_source_value": row["id"],
            "specialty_source_value": cut(row["speciality"], 50),
            "specialty_source_concept_id": 0,
            "gender_source_value": cut(row["gender"], 50),
            "gender_source_concept_id": 0,
        }
        for row in world.rows["providers"]
    ]


def _specialty(name: str | None, vocabulary: Vocabulary) -> int:
    """The standard concept of the domain Provider of a specialty, the smallest of several."""
    code = SPECIALTIES.get((name or "").lower())
    targets = vocabulary.targets("Medicare Specialty", code) if code else []
    return next((one.concept.concept_id for one in targets if one.concept.domain == "Provider"), 0)


def persons(world: World, vocabulary: Vocabulary) -> list[Record]:
    """The rows of person."""
    return [_person(row, vocabulary) for row in world.rows["patients"]]


def _person(row: SourceRow, vocabulary: Vocabulary) -> Record:
    birth = row["birthdate"]
    return {
        "person_id": label(row),
        "gender_concept_id": vocabulary.fixed(GENDERS.get((row["gender"] or "").lower(), 0)),
        "year_of_birth": birth.year,
        "month_of_birth": birth.month,
        "day_of_birth": birth.day,
        "birth_datetime": f"{birth} 00:00:00",
        "race_concept_id": vocabulary.fixed(RACES.get((row["race"] or "").lower(), 0)),
        "ethnicity_concept_id": vocabulary.fixed(ETHNICITIES.get((row["ethnicity"] or "").lower(), 0)),
        "location_id": _place_label(row, vocabulary),
        "person_source_value": row["id"],
        "gender_source_value": cut(row["gender"], 50),
        "gender_source_concept_id": 0,
        "race_source_value": cut(row["race"], 50),
        "race_source_concept_id": 0,
        "ethnicity_source_value": cut(row["ethnicity"], 50),
        "ethnicity_source_concept_id": 0,
    }


def deaths(world: World, vocabulary: Vocabulary) -> list[Record]:
    """The rows of death: the patient's own day, the cause from the certificate's encounter."""
    encounters = world.of_patients("encounters")
    found = []
    for row in world.rows["patients"]:
        if row["deathdate"] is not None:
            certificates = [one for one in encounters[row["id"]] if one["code"] == CERTIFICATE and one["reasoncode"]]
            reason = min(certificates, key=order_of)["reasoncode"] if certificates else None
            found.append(
                {
                    "person_id": label(row),
                    "death_date": row["deathdate"],
                    "death_type_concept_id": vocabulary.fixed(32817),
                    "cause_concept_id": vocabulary.standard("SNOMED", reason) if reason else None,
                    "cause_source_value": cut(reason, 50),
                    "cause_source_concept_id": vocabulary.source_concept("SNOMED", reason) if reason else None,
                }
            )
    return found
