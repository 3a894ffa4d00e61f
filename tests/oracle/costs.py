"""What things cost, and which priced row each claim transaction belongs to.

Belongs here: cost. Does not: periods of insurance (periods.py).
Source: docs/mapping/cost.md.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from tests.oracle.concepts import Vocabulary
from tests.oracle.events import day
from tests.oracle.fates import World
from tests.oracle.labels import Record, content_label, label
from tests.oracle.periods import PayerPeriod
from tests.oracle.source import SourceRow, ordered
from tests.oracle.visits import Visits

PRICES = {
    "encounters": ("Visit", "base_encounter_cost"),
    "medications": ("Drug", "totalcost"),
    "immunizations": ("Drug", "base_cost"),
    "procedures": ("Procedure", "base_cost"),
}
CLAIM_TOTALS = {"encounters": "total_claim_cost", "medications": "totalcost"}
CLAIM, RECORD, DOLLAR = 32810, 32814, 44818668


@dataclass(frozen=True)
class Item:
    """A charge with its payments and transfers."""

    lines: list[SourceRow]

    @property
    def key(self) -> tuple[object, ...]:
        """Person, encounter, code and moment of the row that it belongs to."""
        one = self.lines[0]
        return one.patient, one["appointmentid"], one["procedurecode"], one["fromdate"]

    @property
    def has_charge(self) -> bool:
        """Whether anything was charged, or payments came alone."""
        return any(line["type"] == "CHARGE" for line in self.lines)

    @property
    def order(self) -> tuple[object, ...]:
        """The order of items of one code and moment: by what was charged, then by what was paid."""
        return ordered(*_amounts([self]).values(), self.lines[0]["claimid"])

    def total(self, kind: str, amount: str, **wanted: str) -> Decimal | None:
        """The sum over the lines of a type with certain values; nothing if there is no such line."""
        lines = [one for one in self.lines if one["type"] == kind and all(one[name] == value for name, value in wanted.items())]
        amounts = [one[amount] for one in lines if one[amount] is not None]
        return sum(amounts, Decimal(0)) if amounts else None


def items_of(world: World) -> list[Item]:
    """All items: transactions of one claim, code and moment; as many items as there are charges."""
    groups = defaultdict(list)
    for line in world.rows["claims_transactions"]:
        if line["type"] != "TRANSFEROUT":
            groups[line["claimid"], line["procedurecode"], line["fromdate"], line["appointmentid"]].append(line)
    return [item for lines in groups.values() for item in _split(lines)]


def _split(lines: list[SourceRow]) -> Iterator[Item]:
    """The nth line of each kind with the nth charge, in the order of amounts; lines beyond the charges with the last."""
    kinds = defaultdict(list)
    for line in sorted(lines, key=_line_order):
        is_charge = line["type"] == "CHARGE"
        kinds["CHARGE" if is_charge else (line["type"], line["method"], line["transfertype"])].append(line)
    count = max(len(kinds.get("CHARGE", ())), 1)
    parts: list[list[SourceRow]] = [[] for _ in range(count)]
    for found in kinds.values():
        for number, line in enumerate(found):
            parts[min(number, count - 1)].append(line)
    return (Item(part) for part in parts)


def _line_order(line: SourceRow) -> tuple[object, ...]:
    """The order of lines of a kind: by the amount that counts, of equal charges those first that the person is billed."""
    amount = {"CHARGE": "amount", "PAYMENT": "payments", "TRANSFERIN": "transfers"}.get(line["type"])
    billed = line[amount] if amount and line["type"] != "PAYMENT" and line["transfertype"] == "p" else None
    return ordered(line[amount] if amount else None, billed)


def assign(world: World) -> dict[int, list[Item]]:
    """The items of each priced row (by its identity): of a drug or procedure where one fits, else of the encounter."""
    rows = defaultdict(list)
    for table in ("medications", "immunizations", "procedures"):
        for row in world.rows[table]:
            rows[row.patient, row["encounter"], row["code"], row.start].append(row)
    waiting = defaultdict(list)
    for item in items_of(world):
        waiting[item.key].append(item)
    found: dict[int, list[Item]] = defaultdict(list)
    for key, items in waiting.items():
        fitting = sorted(rows.get(key, ()), key=_price_order) if key[1] is not None else []
        for number, item in enumerate(sorted(items, key=lambda one: one.order) if len(items) > 1 else items):
            row = fitting[number] if number < len(fitting) else _encounter(world, item)
            if row is not None:
                found[id(row)].append(item)
    return found


def _price_order(row: SourceRow) -> tuple[object, ...]:
    """The order of priced rows of one code and moment: by price, then by what they say."""
    domain, price = PRICES[row.table]
    says = (row.get("dispenses"), row.get("stop"), domain, row.get("reasoncode"), row["description"])
    return ordered(row["base_cost"], row[price], *says)


def _encounter(world: World, item: Item) -> SourceRow | None:
    line = item.lines[0]
    claim = world.by_id["claims"][line["claimid"]]
    return world.by_id["encounters"].get(line["appointmentid"] or claim["appointmentid"])


def costs(world: World, visits: Visits, periods: list[PayerPeriod], vocabulary: Vocabulary) -> list[Record]:
    """The rows of cost, one for each priced row."""
    items, insured = assign(world), defaultdict(list)
    claimed = {line.patient for line in world.rows["claims_transactions"] if line["type"] != "TRANSFEROUT"}
    for period in periods:
        insured[period.patient].append(period)
    found = []
    for table, (domain, price) in PRICES.items():
        for row in world.rows[table]:
            theirs = items.get(id(row), [])
            is_claimed = any(item.has_charge for item in theirs)
            event = visits.by_encounter[row["id"]].first if table == "encounters" else row
            covered = {} if row.patient in claimed else _without_claims(row)
            found.append(
                _paid(theirs)
                | covered
                | {
                    "cost_id": label(row),
                    "cost_event_id": label(event),
                    "cost_domain_id": domain,
                    "cost_type_concept_id": vocabulary.fixed(CLAIM if is_claimed else RECORD),
                    "currency_concept_id": vocabulary.fixed(DOLLAR),
                    "total_cost": row[price],
                    "payer_plan_period_id": _period(insured[row.patient], row),
                }
            )
    return found


def _without_claims(row: SourceRow) -> Record:
    """What an encounter's whole claim or a medication came to, and who bore it, where no claim line of the person tells."""
    came_to, covered = row.get(CLAIM_TOTALS[row.table]) if row.table in CLAIM_TOTALS else None, row.get("payer_coverage")
    return {
        "total_charge": came_to,
        "paid_by_payer": covered,
        "paid_by_patient": None if came_to is None or covered is None else came_to - covered,
    }


def _paid(items: list[Item]) -> Record:
    """What a row's items come to; who paid nothing of them paid 0."""
    amounts = _amounts(items)
    return {name: Decimal(0) if amount is None and name != "total_charge" else amount for name, amount in amounts.items()}


def _amounts(items: list[Item]) -> Record:
    """What lines of items come to; nothing without a line."""
    if not items:
        return {}

    def total(*wanted: tuple[str, str, dict[str, str]]) -> Decimal | None:
        found = [item.total(kind, amount, **values) for item in items for kind, amount, values in wanted]
        known = [one for one in found if one is not None]
        return sum(known, Decimal(0)) if known else None

    copay = ("PAYMENT", "payments", {"method": "COPAY"})
    return {
        "total_charge": total(("CHARGE", "amount", {})),
        "total_paid": total(("PAYMENT", "payments", {})),
        "paid_by_payer": total(("PAYMENT", "payments", {"method": "ECHECK"})),
        "paid_patient_copay": total(copay),
        "paid_by_patient": total(("CHARGE", "amount", {"transfertype": "p"}), ("TRANSFERIN", "transfers", {"transfertype": "p"}), copay),
    }


def _period(periods: list[PayerPeriod], row: SourceRow) -> str | None:
    """The insurance that holds the day; of several the one that began last, of these the first in order."""
    holding = [one for one in periods if one.start <= day(row.start) <= one.end]
    began = max((one.start for one in holding), default=None)
    found = min((one for one in holding if one.start == began), key=lambda one: one.order, default=None)
    return content_label(found.record, "payer_plan_period") if found else None
