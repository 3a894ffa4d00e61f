"""What a day alters in an old row: corrections, and the end of what was open when somebody died.

Belongs here: one row's significant values. Does not: which rows (mutation.py).
"""

from datetime import date

from omop_inc.sampling.rows import Shape

# By table: the column that a correction touches, and how. A number grows by one, an open end gets the day.
CORRECTED = {
    "patients": "address",
    "encounters": "total_claim_cost",
    "claims": "outstanding1",
    "conditions": "stop",
    "medications": "totalcost",
    "immunizations": "base_cost",
    "procedures": "base_cost",
    "observations": "value",
    "careplans": "stop",
    "supplies": "quantity",
}
# What ends with a life.
ENDED = {"patients": "deathdate", "conditions": "stop", "medications": "stop", "careplans": "stop"}


def correct(shape: Shape, fields: list[bytes], day: date) -> None:
    """Correct a row, if its table has something to correct and the row holds it."""
    place = shape.at.get(CORRECTED.get(shape.table.name, ""))
    if place is None:
        return
    column = CORRECTED[shape.table.name]
    if column == "stop":
        _end(shape, fields, place, day)
    elif column == "address":
        fields[place] += b" Annex"
    elif fields[place]:
        fields[place] = _grown(fields[place])


def bury(shape: Shape, fields: list[bytes], day: date) -> None:
    """End what is open in a row of somebody who died on the day."""
    place = shape.at.get(ENDED.get(shape.table.name, ""))
    if place is not None:
        _end(shape, fields, place, day)


def _end(shape: Shape, fields: list[bytes], place: int, day: date) -> None:
    """Write the day into an open end, with the time of day that the row's start has."""
    if not fields[place]:
        start = fields[shape.at["start"]] if "start" in shape.at else b""
        fields[place] = day.isoformat().encode() + start[10:]


def _grown(value: bytes) -> bytes:
    try:
        number = float(value)
    except ValueError:
        return value + b" (corrected)"
    decimals = len(value.partition(b".")[2])
    return b"%.*f" % (decimals, number + 1)
