"""The facts about each of Synthea's 18 CSV files: columns, types, keys, parents, what each export computes anew.

Belongs here: facts, written once; the pandera schemas, the staging tables and the COPY column lists derive from them.
Does not: reading a file (snapshot.py, records.py), checking a value (validation.py), any SQL.

How to read a table's columns. One word per column, in the order in which the newest Synthea writes them:
`NAME:type` then `!` the header must have it and no row may leave it empty, `+` the header must have it, `~` volatile
(each export computes it anew: neither hashed nor staged), `^` only older exporters write it, `=OLD` a name that an
older generation gave it (several may follow), `/fold` the fold of hashing.py by which its values are brought together.

Source: Synthea's CSV data dictionary; the headers of real exports of 2.x to 3.3; docs/decisions/ for the volatile ones.
"""

import re
from dataclasses import dataclass
from typing import Literal

ColumnType = Literal["uuid", "text", "date", "timestamp", "integer", "numeric"]
RepeatedId = Literal["quarantine", "first", "rows"]

_WORD = re.compile(r"(?P<name>\w+):(?P<type>uuid|text|date|timestamp|integer|numeric)(?P<marks>[!+~^]*)(?P<aliases>(=\w+)*)(/(?P<fold>\w+))?")


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a source table."""

    name: str  # as the newest Synthea writes it
    type: ColumnType  # as staged
    required_in_header: bool = False  # a file without it stops the run
    nullable: bool = True  # whether a row may leave it empty
    volatile: bool = False  # computed anew by each export: neither hashed nor staged
    legacy: bool = False  # only older exporters write it, so the canonical header lacks it
    aliases: tuple[str, ...] = ()  # names of older generations
    fold: str | None = None  # name of the fold in hashing.py that its values pass through

    @property
    def staged(self) -> str:
        """Name of the staged column."""
        return self.name.lower()


@dataclass(frozen=True, kw_only=True)
class Parent:
    """A reference that must be there before the row may be loaded; an empty one asks for nothing."""

    column: str  # staged name
    table: str  # the source table whose id it names


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A soft reference: where the named row is unknown, it loads as NULL and is counted."""

    column: str  # staged name
    tables: tuple[str, ...]  # the source tables whose ids it may name


@dataclass(frozen=True, kw_only=True)
class SourceTable:
    """One of Synthea's CSV files."""

    name: str  # of the file, without .csv
    columns: tuple[Column, ...]  # in canonical order
    key: tuple[str, ...]  # staged names that pair a removed row with a new one as changed; () never pairs
    patient: str | None = None  # staged column that holds the patient's id
    parents: tuple[Parent, ...] = ()
    references: tuple[Reference, ...] = ()
    repeated_id: RepeatedId = "rows"  # what one Id with different content means

    @property
    def encounter(self) -> str | None:
        """The staged column that names the encounter to which a row belongs; of encounters their own Id."""
        if self.name == "encounters":
            return "id"
        return next((parent.column for parent in self.parents if parent.table == "encounters"), None)

    @property
    def significant(self) -> tuple[Column, ...]:
        """The columns that are hashed and staged, in canonical order."""
        return tuple(column for column in self.columns if not column.volatile)

    @property
    def staged(self) -> tuple[str, ...]:
        """The staged names of the significant columns, in canonical order."""
        return tuple(column.staged for column in self.significant)

    @property
    def header(self) -> tuple[str, ...]:
        """The canonical header: the names that the newest Synthea writes, in its order."""
        return tuple(column.name for column in self.columns if not column.legacy)

    def column(self, staged: str) -> Column:
        """Give the column of a staged name."""
        return next(column for column in self.columns if column.staged == staged)


def _column(word: str) -> Column:
    match = _WORD.fullmatch(word)
    if match is None:
        raise ValueError(f"Column {word!r}: expected NAME:type and marks.")
    marks = match["marks"]
    return Column(
        name=match["name"],
        type=match["type"],  # type: ignore[arg-type]  # the pattern lists the literals
        required_in_header="!" in marks or "+" in marks,
        nullable="!" not in marks,
        volatile="~" in marks,
        legacy="^" in marks,
        aliases=tuple(match["aliases"].split("=")[1:]),
        fold=match["fold"],
    )


def _table(
    name: str,
    columns: str,
    key: str,
    *,
    patient: str | None = "patient",
    parents: str = "",
    references: str = "",
    repeated_id: RepeatedId = "rows",
) -> SourceTable:
    """Build a table from words; `parents` and `references` are `column>table`, tables parted by `|`."""
    all_parents = parents.split() + ([f"{patient}>patients"] if patient and name != "patients" else [])
    return SourceTable(
        name=name,
        columns=tuple(map(_column, columns.split())),
        key=tuple(key.split()),
        patient=patient,
        parents=tuple(Parent(column=word.split(">")[0], table=word.split(">")[1]) for word in sorted(all_parents, reverse=True)),
        references=tuple(Reference(column=word.split(">")[0], tables=tuple(word.split(">")[1].split("|"))) for word in references.split()),
        repeated_id=repeated_id,
    )


_ENCOUNTER = "encounter>encounters"

# Parents come before their children: a snapshot is staged in this order.
_TABLES = (
    _table(
        "payers",
        """Id:uuid! NAME:text+ OWNERSHIP:text ADDRESS:text CITY:text STATE_HEADQUARTERED:text ZIP:text PHONE:text
        AMOUNT_COVERED:numeric~ AMOUNT_UNCOVERED:numeric~ REVENUE:numeric~ COVERED_ENCOUNTERS:integer~
        UNCOVERED_ENCOUNTERS:integer~ COVERED_MEDICATIONS:integer~ UNCOVERED_MEDICATIONS:integer~
        COVERED_PROCEDURES:integer~ UNCOVERED_PROCEDURES:integer~ COVERED_IMMUNIZATIONS:integer~
        UNCOVERED_IMMUNIZATIONS:integer~ UNIQUE_CUSTOMERS:integer~ QOLS_AVG:numeric~ MEMBER_MONTHS:integer~""",
        "id",
        patient=None,
        repeated_id="first",
    ),
    _table(
        "organizations",
        """Id:uuid! NAME:text+ ADDRESS:text CITY:text STATE:text ZIP:text LAT:numeric LON:numeric PHONE:text
        REVENUE:numeric~ UTILIZATION:integer~""",
        "id",
        patient=None,
        repeated_id="first",
    ),
    _table(
        "providers",
        """Id:uuid! ORGANIZATION:uuid+ NAME:text+ GENDER:text SPECIALITY:text ADDRESS:text CITY:text STATE:text ZIP:text
        LAT:numeric LON:numeric ENCOUNTERS:integer~ PROCEDURES:integer~ UTILIZATION:integer~^""",
        "id",
        patient=None,
        references="organization>organizations",
        repeated_id="first",
    ),
    _table(
        "patients",
        """Id:uuid! BIRTHDATE:date! DEATHDATE:date+ SSN:text DRIVERS:text PASSPORT:text PREFIX:text FIRST:text MIDDLE:text
        LAST:text SUFFIX:text MAIDEN:text MARITAL:text RACE:text+ ETHNICITY:text+ GENDER:text+ BIRTHPLACE:text ADDRESS:text
        CITY:text STATE:text COUNTY:text FIPS:text ZIP:text LAT:numeric LON:numeric HEALTHCARE_EXPENSES:numeric~
        HEALTHCARE_COVERAGE:numeric~ INCOME:numeric""",
        "id",
        patient="id",
        repeated_id="quarantine",
    ),
    _table(
        "encounters",
        """Id:uuid! START:timestamp! STOP:timestamp+ PATIENT:uuid! ORGANIZATION:uuid PROVIDER:uuid PAYER:uuid
        ENCOUNTERCLASS:text+ CODE:text! DESCRIPTION:text BASE_ENCOUNTER_COST:numeric=COST TOTAL_CLAIM_COST:numeric
        PAYER_COVERAGE:numeric REASONCODE:text REASONDESCRIPTION:text""",
        "id",
        references="organization>organizations provider>providers|organizations payer>payers",
        repeated_id="quarantine",
    ),
    _table(
        "claims",
        """Id:uuid! PATIENTID:uuid! PROVIDERID:uuid PRIMARYPATIENTINSURANCEID:text SECONDARYPATIENTINSURANCEID:text
        DEPARTMENTID:text PATIENTDEPARTMENTID:text DIAGNOSIS1:text DIAGNOSIS2:text DIAGNOSIS3:text DIAGNOSIS4:text
        DIAGNOSIS5:text DIAGNOSIS6:text DIAGNOSIS7:text DIAGNOSIS8:text REFERRINGPROVIDERID:uuid APPOINTMENTID:uuid+
        CURRENTILLNESSDATE:timestamp SERVICEDATE:timestamp SUPERVISINGPROVIDERID:uuid STATUS1:text STATUS2:text STATUSP:text
        OUTSTANDING1:numeric OUTSTANDING2:numeric OUTSTANDINGP:numeric LASTBILLEDDATE1:timestamp LASTBILLEDDATE2:timestamp
        LASTBILLEDDATEP:timestamp HEALTHCARECLAIMTYPEID1:integer HEALTHCARECLAIMTYPEID2:integer""",
        "id",
        patient="patientid",
        parents="appointmentid>encounters",
        references="providerid>providers referringproviderid>providers supervisingproviderid>providers",
        repeated_id="quarantine",
    ),
    _table(
        "claims_transactions",
        """ID:uuid~ CLAIMID:uuid! CHARGEID:text~ PATIENTID:uuid! TYPE:text! AMOUNT:numeric METHOD:text/method
        FROMDATE:timestamp TODATE:timestamp PLACEOFSERVICE:text PROCEDURECODE:text MODIFIER1:text MODIFIER2:text
        DIAGNOSISREF1:integer DIAGNOSISREF2:integer DIAGNOSISREF3:integer DIAGNOSISREF4:integer UNITS:numeric
        DEPARTMENTID:text NOTES:text UNITAMOUNT:numeric TRANSFEROUTID:text~ TRANSFERTYPE:text PAYMENTS:numeric
        ADJUSTMENTS:numeric TRANSFERS:numeric OUTSTANDING:numeric APPOINTMENTID:uuid LINENOTE:text PATIENTINSURANCEID:text
        FEESCHEDULEID:text PROVIDERID:uuid SUPERVISINGPROVIDERID:uuid""",
        "",
        patient="patientid",
        parents="claimid>claims appointmentid>encounters",
        references="providerid>providers supervisingproviderid>providers",
    ),
    _table(
        "conditions",
        """START:date! STOP:date+ PATIENT:uuid! ENCOUNTER:uuid+ SYSTEM:text CODE:text! DESCRIPTION:text""",
        "patient encounter code start",
        parents=_ENCOUNTER,
    ),
    _table(
        "medications",
        """START:timestamp! STOP:timestamp+ PATIENT:uuid! PAYER:uuid ENCOUNTER:uuid+ CODE:text! DESCRIPTION:text
        BASE_COST:numeric=COST PAYER_COVERAGE:numeric DISPENSES:integer TOTALCOST:numeric REASONCODE:text
        REASONDESCRIPTION:text""",
        "patient encounter code start",
        parents=_ENCOUNTER,
        references="payer>payers",
    ),
    _table(
        "immunizations",
        """DATE:timestamp! PATIENT:uuid! ENCOUNTER:uuid+ CODE:text! DESCRIPTION:text BASE_COST:numeric=COST""",
        "patient encounter code date",
        parents=_ENCOUNTER,
    ),
    _table(
        "procedures",
        """START:timestamp!=DATE STOP:timestamp PATIENT:uuid! ENCOUNTER:uuid+ SYSTEM:text CODE:text! DESCRIPTION:text
        BASE_COST:numeric=COST REASONCODE:text REASONDESCRIPTION:text""",
        "patient encounter code start",
        parents=_ENCOUNTER,
    ),
    _table(
        "observations",
        """DATE:timestamp! PATIENT:uuid! ENCOUNTER:uuid+ CATEGORY:text CODE:text! DESCRIPTION:text VALUE:text+ UNITS:text+
        TYPE:text""",
        "patient encounter code date",
        parents=_ENCOUNTER,
    ),
    _table(
        "allergies",
        """START:date! STOP:date+ PATIENT:uuid! ENCOUNTER:uuid+ CODE:text! SYSTEM:text DESCRIPTION:text TYPE:text
        CATEGORY:text REACTION1:text DESCRIPTION1:text SEVERITY1:text REACTION2:text DESCRIPTION2:text SEVERITY2:text""",
        "patient encounter code start",
        parents=_ENCOUNTER,
    ),
    _table(
        "careplans",
        """Id:uuid! START:date! STOP:date+ PATIENT:uuid! ENCOUNTER:uuid+ CODE:text! DESCRIPTION:text REASONCODE:text
        REASONDESCRIPTION:text""",
        "id",
        parents=_ENCOUNTER,
        repeated_id="quarantine",
    ),
    _table(
        "devices",
        """START:timestamp! STOP:timestamp+ PATIENT:uuid! ENCOUNTER:uuid+ CODE:text! DESCRIPTION:text UDI:text""",
        "patient encounter code start",
        parents=_ENCOUNTER,
    ),
    _table(
        "supplies",
        """DATE:date! PATIENT:uuid! ENCOUNTER:uuid+ CODE:text! DESCRIPTION:text QUANTITY:integer""",
        "patient encounter code date",
        parents=_ENCOUNTER,
    ),
    _table(
        "imaging_studies",
        """Id:uuid! DATE:timestamp! PATIENT:uuid! ENCOUNTER:uuid+ SERIES_UID:text BODYSITE_CODE:text BODYSITE_DESCRIPTION:text
        MODALITY_CODE:text MODALITY_DESCRIPTION:text INSTANCE_UID:text SOP_CODE:text SOP_DESCRIPTION:text PROCEDURE_CODE:text""",
        "id series_uid instance_uid",
        parents=_ENCOUNTER,
    ),
    _table(
        "payer_transitions",
        """PATIENT:uuid! MEMBERID:text START_DATE:timestamp!=START_YEAR/period_start END_DATE:timestamp+=END_YEAR/period_end
        PAYER:uuid+ SECONDARY_PAYER:uuid PLAN_OWNERSHIP:text=OWNERSHIP OWNER_NAME:text=OWNERNAME""",
        "patient start_date",
        references="payer>payers secondary_payer>payers",
    ),
)

SOURCE_TABLES: dict[str, SourceTable] = {table.name: table for table in _TABLES}

# Without people and encounters nothing else can be placed.
REQUIRED_TABLES = ("patients", "encounters")
