"""Codes to concepts, read from Athena's files.

Belongs here: what a code, a unit, a text result or a fixed concept stands for. Does not: which table a row goes to (routing.py).
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

# How SNOMED says what kind of thing a name is of.
TAG = re.compile(r" \((qualifier value|finding)\)$")


@dataclass(frozen=True)
class Concept:
    """A row of CONCEPT."""

    concept_id: int
    name: str
    domain: str
    vocabulary: str
    concept_class: str
    code: str
    is_standard: bool  # and valid
    is_valid: bool


@dataclass(frozen=True)
class Target:
    """A standard concept that a code maps to, with the value that the code implies."""

    concept: Concept
    value: int | None = None


@dataclass(frozen=True)
class Strength:
    """How much of an ingredient is in a drug."""

    ingredient: int
    value: Decimal
    unit: int


@dataclass(frozen=True)
class Answer:
    """A standard concept that a text result may name."""

    concept_id: int
    name: str
    is_snomed: bool


@dataclass
class Vocabulary:
    """What the loaded vocabulary knows."""

    concepts: dict[int, Concept] = field(default_factory=dict)
    by_code: dict[tuple[str, str], Concept] = field(default_factory=dict)
    maps: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    values: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    ancestors: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    strengths: dict[int, list[Strength]] = field(default_factory=lambda: defaultdict(list))
    units: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    answers: dict[str, list[Answer]] = field(default_factory=lambda: defaultdict(list))  # by folded name
    _units: dict[str, int] = field(default_factory=dict)  # found before

    def fixed(self, concept_id: int) -> int:
        """A concept that the mapping names, or 0 where the vocabulary lacks it."""
        return concept_id if concept_id in self.concepts else 0

    def source_concept(self, vocabulary: str, code: str) -> int:
        """The concept of the code itself."""
        found = self.by_code.get((vocabulary, code))
        return found.concept_id if found else 0

    def targets(self, vocabulary: str, code: str) -> list[Target]:
        """The standard concepts of a code, the smallest first; a standard concept that maps to nothing is its own."""
        source = self.source_concept(vocabulary, code)
        own = {source} if self.concepts[source].is_standard else set()
        concepts = [self.concepts[one] for one in sorted(self.maps.get(source) or own)]
        values = sorted(self.values.get(source, ())) or [None]
        return [Target(concept, value) for concept in concepts for value in values]

    def standard(self, vocabulary: str, code: str | None) -> int:
        """The smallest standard concept of a code, or 0."""
        found = self.targets(vocabulary, code) if code else []
        return found[0].concept.concept_id if found else 0

    def unit(self, text: str | None) -> int | None:
        """The concept of a unit."""
        if text is None:
            return None
        if text not in self._units:
            self._units[text] = self._find_unit(text)
        return self._units[text]

    def _find_unit(self, text: str) -> int:
        """The map of units before UCUM; UCUM as written, then whatever its case."""
        if text in self.units:
            codes = [self.by_code.get(("UCUM", code)) for code in self.units[text]]
            return next((one.concept_id for one in codes if one and one.is_standard), 0)
        exact = self.by_code.get(("UCUM", text))
        if exact and exact.is_standard:
            return exact.concept_id
        folded = [c.concept_id for (name, code), c in self.by_code.items() if name == "UCUM" and c.is_standard and code.lower() == text.lower()]
        return min(folded, default=0)

    def answer(self, text: str) -> int:
        """The concept that a text result names, or 0: LOINC's before SNOMED's, the name as written before others; an ambiguous one names none."""
        has_tag = TAG.search(text) is not None
        found = [one for one in self.answers.get(folded(text), ()) if one.is_snomed or not has_tag]
        best = min(((one.is_snomed, one.name != text) for one in found), default=None)
        ids = {one.concept_id for one in found if (one.is_snomed, one.name != text) == best}
        return ids.pop() if len(ids) == 1 else 0

    def ingredients(self, drug: int) -> list[int]:
        """The standard RxNorm ingredients among a drug's ancestors."""
        found = [self.concepts[one] for one in self.ancestors.get(drug, ()) if one in self.concepts]
        return sorted(c.concept_id for c in found if c.is_standard and c.vocabulary == "RxNorm" and c.concept_class == "Ingredient")


def read_vocabulary(folder: Path, unit_map: Path) -> Vocabulary:
    """Read a folder of Athena's files and a list of units with their UCUM codes."""
    found = Vocabulary()
    for line in _lines(folder / "CONCEPT.csv"):
        _add_concept(found, line)
    for line in _lines(folder / "CONCEPT_RELATIONSHIP.csv"):
        _add_relationship(found, line)
    for line in _lines(folder / "CONCEPT_ANCESTOR.csv"):
        found.ancestors[int(line["descendant_concept_id"])].add(int(line["ancestor_concept_id"]))
    for line in _lines(folder / "DRUG_STRENGTH.csv"):
        _add_strength(found, line)
    _add_answers(found)
    with unit_map.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            found.units[line["unit_source_value"]].append(line["ucum_code"])
    return found


def _lines(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)


def _add_concept(found: Vocabulary, line: dict[str, str]) -> None:
    concept = Concept(
        concept_id=int(line["concept_id"]),
        name=line["concept_name"],
        domain=line["domain_id"],
        vocabulary=line["vocabulary_id"],
        concept_class=line["concept_class_id"],
        code=line["concept_code"],
        is_standard=line["standard_concept"] == "S" and not line["invalid_reason"],
        is_valid=not line["invalid_reason"],
    )
    found.concepts[concept.concept_id] = concept
    found.by_code.setdefault((concept.vocabulary, concept.code), concept)


def _add_relationship(found: Vocabulary, line: dict[str, str]) -> None:
    kinds = {"Maps to": found.maps, "Maps to value": found.values}
    target = found.concepts.get(int(line["concept_id_2"]))
    if line["relationship_id"] in kinds and not line["invalid_reason"] and target and target.is_standard:
        kinds[line["relationship_id"]][int(line["concept_id_1"])].add(target.concept_id)


def _add_strength(found: Vocabulary, line: dict[str, str]) -> None:
    part = "amount" if line["amount_value"] else "numerator"
    if not line["invalid_reason"] and line[f"{part}_value"]:
        unit = int(line[f"{part}_unit_concept_id"] or 0)
        strength = Strength(int(line["ingredient_concept_id"]), Decimal(line[f"{part}_value"]), unit)
        found.strengths[int(line["drug_concept_id"])].append(strength)


def _add_answers(found: Vocabulary) -> None:
    """What a text result may name: concepts of the domain Meas Value and LOINC's answers, the non-standard ones by what they map to."""
    for concept in found.concepts.values():
        is_answer = concept.domain == "Meas Value" or (concept.vocabulary, concept.concept_class) == ("LOINC", "Answer")
        if is_answer and concept.is_valid and concept.vocabulary in ("SNOMED", "LOINC"):
            own = {concept.concept_id} if concept.is_standard else set()
            for target in found.maps.get(concept.concept_id) or own:
                found.answers[folded(concept.name)].append(Answer(target, concept.name, concept.vocabulary == "SNOMED"))


def folded(text: str) -> str:
    """A name without its case and semantic tag, each comma and blank as one blank."""
    return re.sub("[ ,]+", " ", TAG.sub("", text)).lower()
