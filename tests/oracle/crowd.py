"""People drawn from numbers, dense in what is hard: stays near each other, ties, repeated charges, gaps at the limit of an era.

Belongs here: the rows of a drawn person. Does not: snapshots as files, comparing. A number always gives the same person.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random

from tests.factories import Row, World, dimension_rows, empty_world, joined, row, uid

BEGIN = datetime(2020, 1, 1, 6)
PAYERS = 3
CLASSES = ("inpatient", "inpatient", "INPATIENT", "emergency", "emergency", "ambulatory", "urgentcare", "snf", "odd", "Virtual")
CONDITIONS = ("43878008", "15777000", "314529007", "900000001", "90000-none")
REASONS = (*CONDITIONS, "")
DRUGS = ("313782", "857005", "562251", "1049630", "99999999", "900000001")
CAREPLANS = ("384758001", "736376001", "900000001")
PROCEDURES = ("430193006", "74016001", "117015009", "900000001", "90000-none")
OBSERVED = ("8302-2", "72166-2", "94531-1", "900000002", "99999-0", "300359004")
RESULTS = (
    "170.5", "-3", "1e2", "-2.5E-3", "1e400", "Detected", "not detected", "text", "NaN", ".5", "5.", "+7", "", "9" * 101, "Nausea (finding)",
    "sepsis (disorder)", "Sepsis (finding)", "Abdominal pain (disorder)", "Not detected (qualifier value)", "Cough",
)  # fmt: skip
UNITS = ("cm", "kg", "KG", "MG", "A", "{score}", "mmHg", "mm[Hg]", "percent", "nonsense", "")
ALLERGENS = ("84489001", "419199007", "1191", "723", "90000-none", "900000001")
CENTS = ("10.00", "10.0", "20", "-5.25", "2e1", "0", "0.01", "")
CERTIFICATE = "308646001"
# Days from one span's end to the next one's start: either side of an era's limit, and overlaps.
GAPS = (-8, -1, 0, 1, 29, 30, 31, 32)


def crowd(numbers: Sequence[int]) -> World:
    """A snapshot of one person per number; the nth keeps the Id of the nth, whatever the number."""
    dimensions = [dimension_rows(number) for number in range(2)]
    dimensions[1]["payers"] += [
        row("payers", Id=uid("payers", 2), NAME="NO_INSURANCE", OWNERSHIP="NO_INSURANCE"),
        row("payers", Id=uid("payers", 1), NAME="Humana", OWNERSHIP="PRIVATE"),
    ]
    dimensions[1]["providers"][0]["SPECIALITY"] = "Cardiology"
    return joined(*dimensions, *(person(place, number) for place, number in enumerate(numbers)))


def person(place: int, number: int) -> World:
    """A drawn person with all rows."""
    draw = Random(number)
    world = empty_world()
    patient = uid("patients", place)
    death = draw.choice(("", "", "2020-01-09", "2020-02-20", "2020-04-30"))
    zips = draw.choice(("02134", ""))
    world["patients"].append(row("patients", Id=patient, DEATHDATE=death, ZIP=zips, STATE=draw.choice(("MA", "Massachusetts", "massachusetts", ""))))
    world["encounters"] = encounters(draw, patient, place)
    ids = [one["Id"] for one in world["encounters"]]
    world["conditions"] = spans(draw, "conditions", patient, ids, CONDITIONS)
    world["medications"] = spans(draw, "medications", patient, ids, DRUGS)
    add_events(draw, world, patient, ids)
    add_charges(draw, world, patient, place)
    add_studies(draw, world, patient, ids, place)
    world["payer_transitions"] = transitions(draw, patient)
    if draw.random() < 0.5:
        add_copies(draw, world)
    return world


def when(moment: datetime) -> str:
    """A moment as Synthea writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def encounters(draw: Random, patient: str, place: int) -> list[Row]:
    """Encounters on a grid of six hours, so that they tie, touch, and are exactly a day apart."""
    found, moment = [], BEGIN
    for number in range(draw.randint(1, 8)):
        moment += timedelta(hours=draw.choice((0, 0, 6, 12, 18, 24, 30, 24 * 9)), seconds=draw.choice((0, 0, 0, 1)))
        stop = when(moment + timedelta(hours=draw.choice((0, 6, 12, 24, 48, -6)))) if draw.random() < 0.95 else ""
        certifies = draw.random() < 0.2
        found.append(
            row(
                "encounters", Id=uid("encounters", 100 * place + number), PATIENT=patient, START=when(moment), STOP=stop,
                ENCOUNTERCLASS=draw.choice(CLASSES), CODE=CERTIFICATE if certifies else "185345009",
                REASONCODE=draw.choice((*CONDITIONS, "", "")), ORGANIZATION=draw.choice((uid("organizations", 0), "", uid("unknown", 0))),
                PROVIDER=draw.choice((uid("providers", 0), uid("providers", 1), uid("organizations", 1), "")), BASE_ENCOUNTER_COST=draw.choice(CENTS),
                PAYER_COVERAGE=draw.choice(CENTS),
            )
        )  # fmt: skip
    return found


def spans(draw: Random, table: str, patient: str, ids: list[str], codes: Sequence[str]) -> list[Row]:
    """Conditions or medications of two codes, one after another."""
    found = []
    for code in draw.sample(codes, 2):
        moment = BEGIN + timedelta(days=draw.randint(0, 9))
        for _ in range(draw.randint(0, 4)):
            stop = moment + timedelta(days=draw.choice((0, 1, 10, -2)), hours=draw.choice((0, 0, 12)))
            is_over = draw.random() < 0.75
            values = {"PATIENT": patient, "ENCOUNTER": draw.choice((*ids, "")), "CODE": code}
            if table == "conditions":
                values |= {"START": when(moment)[:10], "STOP": when(stop)[:10] if is_over else ""}
            else:
                values |= {"START": when(moment), "STOP": when(stop) if is_over else "", "DISPENSES": draw.choice(("0", "1", "3", "")),
                           "BASE_COST": draw.choice(CENTS), "TOTALCOST": draw.choice(CENTS), "PAYER_COVERAGE": draw.choice(CENTS),
                           "REASONCODE": draw.choice(REASONS)}  # fmt: skip
            found.append(row(table, **values))
            moment = (stop if is_over else moment) + timedelta(days=draw.choice(GAPS))
    return found


def add_events(draw: Random, world: World, patient: str, ids: list[str]) -> None:
    """Rows of the other clinical files."""
    place = {"PATIENT": patient, "ENCOUNTER": draw.choice((*ids, ""))}
    for _ in range(draw.randint(0, 5)):
        values = {
            "CODE": draw.choice(OBSERVED),
            "VALUE": draw.choice(RESULTS),
            "UNITS": draw.choice(UNITS),
            "TYPE": draw.choice(("numeric", "text", "")),
        }
        world["observations"].append(row("observations", CATEGORY=draw.choice(("vital-signs", "laboratory", "survey", "")), **values, **place))
    for _ in range(draw.randint(0, 2)):
        values = {"CODE": draw.choice(ALLERGENS), "CATEGORY": draw.choice(("food", "medication", "")), "TYPE": draw.choice(("allergy", ""))}
        reaction = {"REACTION1": draw.choice(("", "247472004", "90000-none")), "SEVERITY1": draw.choice(("", "MILD", "Severe", "odd"))}
        other = {"REACTION2": draw.choice(("", "422587007")), "SEVERITY2": draw.choice(("", "MODERATE")), "DESCRIPTION2": draw.choice(("", "Itch"))}
        world["allergies"].append(
            row("allergies", SYSTEM=draw.choice(("", "Unknown", "SNOMED-CT", "RxNorm")), **values, **reaction, **other, **place)
        )
    for table, codes in (
        ("immunizations", ("140", "08", "zz")),
        ("devices", ("228869008", "90000-none")),
        ("supplies", ("337414009", "900000001", "119297000")),
    ):
        if draw.random() < 0.5:
            world[table].append(row(table, CODE=draw.choice(codes), **place))
    for number in range(draw.randint(0, 2)):
        start = when(BEGIN + timedelta(days=draw.randint(-3, 40)))[:10]
        values = {"CODE": draw.choice(CAREPLANS), "REASONCODE": draw.choice(REASONS), "START": start}
        world["careplans"].append(row("careplans", Id=uid(f"careplans of {patient}", number), **values, **place))
    if world["devices"]:
        world["devices"][0]["UDI"] = draw.choice(("(01)123(11)900224", "123", "", "(01)77", "(02)5(01)6"))


def add_charges(draw: Random, world: World, patient: str, place: int) -> None:
    """Procedures and medications of one code at one moment, and claims that charge them more or less often."""
    encounter = draw.choice(world["encounters"])
    moment = encounter["START"]
    here = {"PATIENT": patient, "ENCOUNTER": draw.choice((encounter["Id"], encounter["Id"], ""))}
    codes = draw.sample(PROCEDURES, 2)
    for code in codes:
        for _ in range(draw.randint(0, 3)):
            world["procedures"].append(
                row("procedures", START=moment, CODE=code, BASE_COST=draw.choice(CENTS), REASONCODE=draw.choice(REASONS), **here)
            )
    if draw.random() < 0.5:
        world["medications"].append(row("medications", START=moment, CODE=codes[0], BASE_COST=draw.choice(CENTS), **here))
    for number in range(draw.randint(0, 3)):
        claim = uid("claims", 10 * place + number)
        theirs = {"PATIENTID": patient, "APPOINTMENTID": draw.choice((encounter["Id"], encounter["Id"], ""))}
        world["claims"].append(row("claims", Id=claim, DIAGNOSIS1=draw.choice(CONDITIONS), **theirs))
        for _ in range(draw.randint(0, 6)):
            theirs["APPOINTMENTID"] = draw.choice((encounter["Id"],) * 6 + ("",))
            world["claims_transactions"].append(transaction(draw, claim, moment, codes) | theirs)


def transaction(draw: Random, claim: str, moment: str, codes: Sequence[str]) -> Row:
    """One line of a claim."""
    kind = draw.choice(("CHARGE", "CHARGE", "PAYMENT", "PAYMENT", "TRANSFERIN", "TRANSFEROUT"))
    money = {"AMOUNT": "" if kind == "PAYMENT" else draw.choice(CENTS), "PAYMENTS": draw.choice(CENTS), "TRANSFERS": draw.choice(CENTS)}
    return row(
        "claims_transactions", CLAIMID=claim, TYPE=kind, METHOD=draw.choice(("CASH", "COPAY", "ECHECK")) if kind == "PAYMENT" else "",
        TRANSFERTYPE=draw.choice(("1", "p")) if kind in ("CHARGE", "TRANSFERIN") else "",
        FROMDATE=draw.choice((moment,) * 5 + ("2020-05-05T05:05:05Z", "")), PROCEDURECODE=draw.choice((codes[0],) * 4 + (codes[1], "185345009", "")),
        **money,
    )  # fmt: skip


def add_studies(draw: Random, world: World, patient: str, ids: list[str], place: int) -> None:
    """Imaging studies, of which some have a procedure on their day."""
    for number in range(draw.randint(0, 2)):
        values = {"PATIENT": patient, "ENCOUNTER": draw.choice((*ids, "")), "PROCEDURE_CODE": draw.choice(("74016001", "430193006", "900000001", ""))}
        for _ in range(draw.randint(1, 3)):
            which = {"MODALITY_CODE": draw.choice(("DX", "CT", "")), "BODYSITE_CODE": draw.choice(("72696002", "51185008", ""))}
            date = draw.choice(("2020-03-01T10:00:00Z", "2020-03-01T10:00:00Z", "2020-03-01T23:00:00Z", "2020-03-02T01:00:00Z"))
            values["PROCEDURE_CODE"] = draw.choice((*[values["PROCEDURE_CODE"]] * 5, "430193006"))
            world["imaging_studies"].append(row("imaging_studies", Id=uid("studies", 10 * place + number), DATE=date, **which, **values))
        if draw.random() < 0.6:
            same = {"PATIENT": patient, "ENCOUNTER": values["ENCOUNTER"], "CODE": values["PROCEDURE_CODE"] or "74016001"}
            world["procedures"].append(row("procedures", START="2020-03-01T10:00:00Z", STOP=draw.choice(("2020-03-01T11:00:00Z", "")), **same))


def transitions(draw: Random, patient: str) -> list[Row]:
    """Insurance that goes on, touches, overlaps, leaves a day out, or is open."""
    found, start = [], BEGIN - timedelta(days=30)
    if draw.random() < 0.2:  # the years about the birth, as older exports tell them
        years = draw.choice((("1980", "1980"), ("1979", "1980"), ("1980-01-01T00:00:00Z", "1980"), ("1980-01-01T00:00:01Z", "1981")))
        found.append(row("payer_transitions", PATIENT=patient, START_DATE=years[0], END_DATE=years[1], PAYER=uid("payers", 0)))
    for _ in range(draw.randint(0, 4)):
        end = start + timedelta(days=draw.choice((0, 20, 40)))
        open_end = draw.choice((when(end),) * 5 + ("292278994-08-17T07:12:55Z", ""))
        who = {
            "PAYER": draw.choice((uid("payers", 0), uid("payers", 1), uid("payers", 2), "")),
            "PLAN_OWNERSHIP": draw.choice(("Self", "Self", "Spouse")),
        }
        member = draw.choice(("", "m1", "m2"))
        found.append(row("payer_transitions", PATIENT=patient, START_DATE=when(start), END_DATE=open_end, MEMBERID=member, **who))
        start = end + timedelta(days=draw.choice((-3, 0, 1, 2)))
    return found


def add_copies(draw: Random, world: World) -> None:
    """Identical rows in some files."""
    for table in ("conditions", "medications", "procedures", "observations", "claims_transactions", "allergies", "imaging_studies"):
        if world[table] and draw.random() < 0.5:
            world[table].append(dict(draw.choice(world[table])))
