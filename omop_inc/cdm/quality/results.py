"""What counts mean: passed, failed, not applicable.

Belongs here: the rules of status, and their sum over all checks. Does not: counting, storing, showing.

Source: DataQualityDashboard's rules. A missing table or field fails its check of presence, and its other checks do not apply; nor do
those of an empty table, of a field without any value, of a concept without a row.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from omop_inc.cdm.quality.catalogue import Catalogue
from omop_inc.cdm.quality.counting import Count
from omop_inc.cdm.quality.facts import Check

Status = Literal["passed", "failed", "not_applicable"]
COMPLETENESS = "measureValueCompleteness"


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """A check and what it found."""

    check: Check
    count: Count
    status: Status
    samples: tuple[int, ...] = ()  # ids of rows that violate it; none where the check passed

    @property
    def percent(self) -> float:
        """The share of violating rows."""
        return 100.0 * self.count.violated / self.count.denominator if self.count.denominator else 0.0

    @property
    def stops(self) -> bool:
        """Whether a run that heeds its checks must not commit."""
        return self.status == "failed" and self.check.severity == "fail"


def is_exceeded(check: Check, count: Count) -> bool:
    """Whether more rows violate a check than may; without a threshold none may."""
    if not check.threshold or not count.denominator:
        return count.violated > 0
    return 100.0 * count.violated / count.denominator > check.threshold


def presence(check: Check, catalogue: Catalogue) -> Count:
    """The count of a check of presence."""
    there = catalogue.has(check.table) if check.field is None else catalogue.has(check.table, check.field)
    return Count(violated=0 if there else 1, denominator=1)


def is_of_presence(check: Check) -> bool:
    """Whether a check asks whether its table or field is there."""
    return check.type in ("cdmTable", "cdmField")


def judge(checks: Iterable[Check], counts: Mapping[str, Count], catalogue: Catalogue, samples: Mapping[str, tuple[int, ...]]) -> list[CheckResult]:
    """Give every check its status; one that was not counted does not apply."""
    results = []
    for check in checks:
        count = counts.get(check.id, Count())
        status: Status = "failed" if is_exceeded(check, count) else "passed"
        if _is_not_applicable(check, counts, catalogue):
            status = "not_applicable"
        shown = samples.get(check.id, ()) if status == "failed" else ()
        results.append(CheckResult(check=check, count=count, status=status, samples=shown))
    return results


def _is_not_applicable(check: Check, counts: Mapping[str, Count], catalogue: Catalogue) -> bool:
    if check.type == "cdmTable":
        return False
    if check.type == "cdmField" or check.type == "measurePersonCompleteness" or check.level == "file":
        return check.id not in counts or (check.level != "file" and not catalogue.has(check.table))
    if check.id not in counts:
        return True
    if check.type == "measureConditionEraCompleteness":
        return counts[check.id].denominator == 0
    if check.type == COMPLETENESS or check.field is None:
        return counts[check.id].denominator == 0
    filled = counts.get(f"{COMPLETENESS}.{check.table}.{check.field}", Count())
    is_empty = filled.denominator == filled.violated  # of an empty table both are 0
    return is_empty or (check.level == "concept" and counts[check.id].denominator == 0)


def tally(results: Iterable[CheckResult]) -> dict[str, int]:
    """How many checks passed, failed, warn, do not apply."""
    found = {"passed": 0, "failed": 0, "warned": 0, "not_applicable": 0}
    for result in results:
        key = result.status if result.status != "failed" or result.check.severity == "fail" else "warned"
        found[key] += 1
    return found
