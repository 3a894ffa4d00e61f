import csv
import re
from pathlib import Path

import pytest

from omop_inc.cdm.concepts import CDM_VERSION_CONCEPTS, FIXED_CONCEPTS, missing_concepts
from omop_inc.resources import sql_dir

# An id with its name behind it, as SQL writes fixed concepts; codes are quoted and do not match.
NAMED_ID = re.compile(r"(?<![\w'.-])(\d{1,9})(?!['\w.])[),;]*\s*-- ([A-Z].*|\w+\.\w+)")


def test_every_concept_that_sql_names_by_id_is_a_fixed_concept() -> None:
    named: dict[int, tuple[str, str]] = {}
    for path in sorted(p for folder in ("transform", "view") for p in (sql_dir() / folder).glob("*.sql")):
        text = path.read_text(encoding="utf-8")
        if "fixed" in text or "routed" in text:
            named |= {int(found): (path.name, name) for found, name in NAMED_ID.findall(text)}
    assert {key: value for key, value in named.items() if key not in FIXED_CONCEPTS} == {}


def test_missing_concepts_are_those_that_the_vocabulary_lacks() -> None:
    assert missing_concepts(set(FIXED_CONCEPTS) - {32902, 262}) == (262, 32902)


def test_missing_concepts_one_version_of_the_cdm_is_enough() -> None:
    for version in CDM_VERSION_CONCEPTS:
        assert missing_concepts(set(FIXED_CONCEPTS) - {version}) == ()
    assert missing_concepts(set(FIXED_CONCEPTS) - set(CDM_VERSION_CONCEPTS)) == tuple(sorted(CDM_VERSION_CONCEPTS))


@pytest.mark.workshop
def test_fixed_concepts_have_their_vocabularys_names(workshop: Path) -> None:
    path = workshop / "vocabulary" / "CONCEPT.csv"
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        names = {int(row["concept_id"]): row["concept_name"] for row in rows}
    assert {i: name for i, name in FIXED_CONCEPTS.items() if i in names} == {i: names[i] for i in FIXED_CONCEPTS if i in names}
