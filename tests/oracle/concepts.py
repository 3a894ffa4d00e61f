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

# How SNOMED says what kind of thing a name is of, and the classes of such concepts.
CLASSES = {
    "finding": ("Clinical Finding",), "disorder": ("Disorder", "Clinical Finding"), "situation": ("Context-dependent",),
    "qualifier value": ("Qualifier Value",),
}  # fmt: skip
TAG = re.compile(rf" \(({'|'.join(CLASSES)})\)$")


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
    is_answer: bool  # a value by its domain or class, whatever text names it; others are named by their full name alone
    concept_class: str


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
        """UCUM as written, then whatever its case where one unit is left, then the shipped list in its order."""
        if exact := self.standard("UCUM", text):
            return exact
        alike = [code for vocabulary, code in self.by_code if vocabulary == "UCUM" and code.lower() == text.lower()]
        found = {self.standard("UCUM", code) for code in alike} - {0}
        if len(found) == 1:
            return found.pop()
        return next((concept for code in self.units.get(text, ()) if (concept := self.standard("UCUM", code))), 0)

    def answer(self, text: str) -> int:
        """The concept that a text result names, or 0 where it names none or several.

        Answers go before SNOMED's other concepts, LOINC's before SNOMED's, the name as written before others.
        """
        tag = TAG.search(text)
        classes = CLASSES[tag[1]] if tag else ()
        ranked: dict[tuple[bool, bool, bool], set[int]] = defaultdict(set)
        for one in self.answers.get(folded(text), ()):
            if (one.is_answer and (one.is_snomed or not tag)) or (one.is_snomed and one.concept_class in classes):
                ranked[not one.is_answer, one.is_snomed, one.name != text].add(one.concept_id)
        best = ranked[min(ranked)] if ranked else set()
        return best.pop() if len(best) == 1 else 0

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
    """What a text result may name, the non-standard concepts by what they map to.

    Concepts of the domain Meas Value and LOINC's answers; SNOMED's findings, disorders, situations and qualifier values.
    """
    tagged = {name for names in CLASSES.values() for name in names}
    for concept in found.concepts.values():
        is_snomed = concept.vocabulary == "SNOMED"
        is_answer = concept.domain == "Meas Value" or (concept.vocabulary, concept.concept_class) == ("LOINC", "Answer")
        can_be_named = is_answer or (is_snomed and concept.concept_class in tagged)
        if can_be_named and concept.is_valid and concept.vocabulary in ("SNOMED", "LOINC"):
            own = {concept.concept_id} if concept.is_standard else set()
            for target in found.maps.get(concept.concept_id) or own:
                found.answers[folded(concept.name)].append(Answer(target, concept.name, is_snomed, is_answer, concept.concept_class))


def folded(text: str) -> str:
    """A name without its case and semantic tag, each comma and blank as one blank."""
    return re.sub("[ ,]+", " ", TAG.sub("", text)).lower()
