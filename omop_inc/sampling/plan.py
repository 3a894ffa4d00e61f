"""Who is touched by a made-up day, and how.

Belongs here: choosing people, their actions, encounters and the day. Does not: altering a row (mutation.py).
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal, get_args

from xxhash import xxh3_128_hexdigest

from omop_inc.sampling.rows import read_records, shape_of
from omop_inc.source.snapshot import Snapshot

# visit: a new encounter with all that belongs to it; correction: values of old rows change; death: the last encounter,
# and what was open ends; window: the oldest encounter leaves with all that belongs to it, as the exporter's window of
# years moves on; newcomer: another person like this one appears; departure: every row of the person leaves.
Action = Literal["visit", "correction", "death", "window", "newcomer", "departure"]

# Of the people touched, in percent. A day of a real export is mostly visits and corrections; as many come as leave, so
# that a long series of days keeps its size.
SHARES: dict[Action, int] = {"visit": 50, "correction": 25, "death": 5, "window": 10, "newcomer": 5, "departure": 5}
# Below this many people the shares would leave actions out, so each person draws its own.
SHARED_FROM = 20


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a day does."""

    day: date
    seed: int
    actions: dict[bytes, Action]  # by patient
    repeated: frozenset[bytes]  # encounters that happen once more on the day
    dropped: frozenset[bytes]  # encounters that leave
    starts: dict[bytes, date]  # of the repeated encounters

    def fresh(self, identifier: bytes) -> bytes:
        """Give the id of what is made from something on this day."""
        digits = xxh3_128_hexdigest(b"%s %s" % (self.day.isoformat().encode(), identifier), self.seed)
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])).encode()


def make_plan(snapshot: Snapshot, *, percent: float, seed: int, day: date | None, among: int | None = None) -> Plan:
    """Choose who is touched and how; the same arguments and rows choose the same.

    Args:
        snapshot: The day before.
        percent: Of the people.
        among: Only the first so many are touched, and the percent is of them; None is all.
        seed: Another one chooses others.
        day: The day; None is the one after the latest encounter.
    """
    people = [fields[0] for fields in _fields(snapshot, "patients", ("id",))][:among]
    source = random.Random(f"day {seed} {day}")
    count = min(len(people), max(1, round(len(people) * percent / 100))) if percent else 0
    chosen = source.sample(people, count)
    actions = {person: _action(source, position, count) for position, person in enumerate(chosen)}
    latest, encounters = _encounters(snapshot, actions)
    repeated, dropped, starts = set(), set(), {}
    for person in sorted(encounters):
        known = sorted(encounters[person])
        if actions[person] in ("visit", "death"):
            start, encounter = source.choice(known)
            repeated.add(encounter)
            starts[encounter] = date.fromisoformat(start[:10].decode())
        elif actions[person] == "window" and len(known) > 1:
            dropped.add(known[0][1])
    return Plan(
        day=day or latest + timedelta(days=1),
        seed=seed,
        actions=actions,
        repeated=frozenset(repeated),
        dropped=frozenset(dropped),
        starts=starts,
    )


def _action(source: random.Random, position: int, count: int) -> Action:
    """Give the action of one of the people: by shares, or drawn where they are few."""
    drawn = source.random() * 100
    at = (position + 0.5) / count * 100 if count >= SHARED_FROM else drawn
    for action in get_args(Action):
        at -= SHARES[action]
        if at < 0:
            break
    return action  # type: ignore[no-any-return]


def _encounters(snapshot: Snapshot, actions: dict[bytes, Action]) -> tuple[date, dict[bytes, list[tuple[bytes, bytes]]]]:
    """Give the latest day of all encounters, and start and id of the encounters of the people whose action needs one."""
    latest = b"0001-01-01"
    found: dict[bytes, list[tuple[bytes, bytes]]] = {}
    for identifier, start, patient in _fields(snapshot, "encounters", ("id", "start", "patient")):
        latest = max(latest, start[:10])
        if actions.get(patient) in ("visit", "death", "window"):
            found.setdefault(patient, []).append((start, identifier))
    return date.fromisoformat(latest.decode()), found


def _fields(snapshot: Snapshot, table: str, names: tuple[str, ...]) -> Iterator[list[bytes]]:
    """Give some fields of every record of a table; records that are no rows are left out."""
    shape = shape_of(snapshot.files[table])
    places = shape.places(names)
    for records in read_records(snapshot.files[table]):
        for record in records:
            fields = shape.split(record)
            if fields is not None:
                yield [fields[place] for place in places]
