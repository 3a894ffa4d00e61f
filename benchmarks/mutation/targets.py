"""The files that are changed, and the tests that concern each.

Belongs here: facts about this project. Does not: how tests are run (scratch.py).
A file's tests stand in stages, the cheapest first; a change counts as surviving only when all of them have passed.
"""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.mutation.mutants import Mutant, make_mutant
from benchmarks.mutation.python_operators import python_edits
from benchmarks.mutation.sql import sql_edits
from omop_inc.cdm.transforms import transforms, views_of

PROJECT = Path(__file__).resolve().parents[2]
SQL_FILES = ("sql/transform/*.sql", "sql/view/*.sql", "sql/query/resolve_*.sql")
_UNIT = "tests/unit/test_{}.py"
_PROPERTY = "tests/property/test_{}.py"
_INTEGRATION = "tests/integration/test_{}.py"
# An increment of small cases, then increments of several snapshots with the change feed, a run again and a rebuild at the end.
_TABLES = "condition_occurrence or cost or fact_relationship or provider or visit_detail"
_BRIEF = ("tests/sql/test_cases.py", "--brief", "-k", _TABLES)
_INCREMENTS = ("tests/sql/test_cases.py", "-k", f"shared or ((changed_row or removed_row or repeated) and ({_TABLES}))")
# Sixty people dense in what is hard, and thirty under a vocabulary that knows nothing, against the reading in plain Python.
_ORACLE = ("tests/oracle/test_histories.py", "-k", "chosen_people or bare")
# Histories of whole worlds (tests/property/test_histories.py, tests/oracle) and the real exports take minutes: left out, so that what only they
# notice counts as alive.
Stage = tuple[str, ...]


def _unit(*names: str) -> Stage:
    return tuple(_UNIT.format(one) for one in names)


def _integration(*names: str) -> Stage:
    return tuple(_INTEGRATION.format(one) for one in names)


def _chosen(words: str, *names: str) -> Stage:
    """Tests of some integration files, by words of their names: those that are about the code, before those that take longer."""
    return (*_integration(*names), "-k", words)


_HASHES: Stage = (*_unit("hashing", "records", "snapshot", "parts"), _PROPERTY.format("hashing"))
PYTHON_FILES: dict[str, tuple[Stage, ...]] = {
    "omop_inc/source/deltas.py": ((*_unit("deltas"), _PROPERTY.format("deltas")), _BRIEF, _INCREMENTS),
    "omop_inc/source/hashing.py": (_HASHES, _BRIEF, _INCREMENTS),
    "omop_inc/source/lines.py": (_HASHES, _BRIEF, _INCREMENTS),
    "omop_inc/source/records.py": (_HASHES, _BRIEF, _INCREMENTS),
    "omop_inc/source/parts.py": (_HASHES, _integration("parts")),
    "omop_inc/store/pairing.py": (
        _chosen("unique_key or there_twice or window or adds_them or its_id_again or given_twice", "append", "snapshots"),
        _BRIEF,
        _chosen("back or (repeated_id and claims) or another_snapshot or copies", "quarantine", "reload", "append"),
        _INCREMENTS,
    ),
    "omop_inc/store/fates.py": (
        _chosen("another_patient or (claims and (copies or waits or orphans))", "quarantine"),
        _BRIEF,
        _chosen("(patients or careplans) and (copies or waits or orphans) or same_snapshot or as_an_increment", "quarantine", "reload", "accounting"),
        _INCREMENTS,
    ),
    "omop_inc/store/intake.py": (
        _chosen("conditions-bad0 or patients-bad or damaged or back", "quarantine"),
        _BRIEF,
        _chosen("copies or lacks_files or add_up or its_id_again or another_snapshot", "quarantine", "append", "snapshots", "reload"),
        _chosen("in_parts or no_loss", "parts", "guards"),
        _INCREMENTS,
    ),
    "omop_inc/store/apply.py": (
        _chosen("conditions-bad0 or back or its_id_again or given_twice or (waits and careplans)", "quarantine", "snapshots"),
        _BRIEF,
        _chosen("reload or renumber", "reload"),
        _INCREMENTS,
    ),
    "omop_inc/store/state.py": (
        _unit("state"),
        _integration("state"),
        _chosen("then_a or gone_leave or no_tuple or same_folder or holds_no_cdm or window", "snapshots", "append", "report"),
        _BRIEF,
        _INCREMENTS,
    ),
    "omop_inc/store/row_ids.py": (
        (_PROPERTY.format("row_ids"),),
        _chosen("only_row or gives_an_id_twice or renumber", "snapshots", "reload"),
        _BRIEF,
        _chosen("reload", "reload"),
        _INCREMENTS,
    ),
    "omop_inc/store/staging.py": (
        _unit("staging"),
        _integration("state"),
        _BRIEF,
        _chosen("conditions-bad0 or damaged or back", "quarantine"),
        _INCREMENTS,
    ),
    "omop_inc/cdm/scope.py": (
        _unit("transforms"),
        _chosen("encounter", "encounter_scope"),
        _BRIEF,
        _chosen("units or dimension or own_person or touches_only", "mapping_settings", "snapshots", "checking"),
        _INCREMENTS,
    ),
    "omop_inc/cdm/dimensions.py": (_integration("dimension_scope"), ("tests/sql/test_cases.py", "-k", "care_site or location or provider")),
    "omop_inc/cdm/world.py": (_BRIEF, _integration("encounter_scope"), _chosen("zone_moves", "mapping_settings"), _INCREMENTS),
    "omop_inc/cdm/results.py": (
        _BRIEF,
        _integration("encounter_scope"),
        _chosen("same_snapshot or every_key or zone_moves or own_person", "reload", "mapping_settings", "snapshots"),
        _INCREMENTS,
    ),
    "omop_inc/cdm/publish.py": (
        _chosen("feed or then_a or own_person", "snapshots"),
        _BRIEF,
        _chosen("reload", "reload"),
        _INCREMENTS,
    ),
    "omop_inc/runs/detect.py": (
        _unit("detect"),
        _chosen("gone_leave or no_tuple or then_a or lacks_files or same_folder or window", "snapshots", "append", "parts"),
        _integration("parts"),
        _BRIEF,
        _INCREMENTS,
    ),
    "omop_inc/runs/increment.py": (
        _chosen("alike or own_person or no_tuple or lacks_files or add_up or window or hashed_again", "snapshots", "append"),
        _BRIEF,
        _chosen("older or append or lost or units or (rows_lost and incremental) or two_looks", "accounting", "mapping_settings", "guards"),
        _INCREMENTS,
    ),
    "omop_inc/runs/guards.py": (_integration("guards"),),
    "omop_inc/runs/accounting.py": (
        _unit("accounting"),
        _chosen("lacks_files or add_up or window or unique_key or references", "append", "accounting"),
        _BRIEF,
        _chosen("as_an_increment or lost or copies or (waits and claims)", "accounting", "quarantine"),
        _INCREMENTS,
    ),
}


def target_files(root: Path = PROJECT) -> list[str]:
    """All files that are changed, from the project's folder."""
    found = [path.relative_to(root).as_posix() for pattern in SQL_FILES for path in sorted(root.glob(pattern))]
    return found + [file for file in PYTHON_FILES if (root / file).is_file()]


def mutants_of(file: str, root: Path = PROJECT) -> Iterator[Mutant]:
    """Every change of a file."""
    text = (root / file).read_text(encoding="utf-8")
    edits = sql_edits(text, text) if file.endswith(".sql") else python_edits(text)
    seen: set[str] = set()
    for edit in edits:
        mutant = make_mutant(file, text, edit)
        if mutant.before != edit.text and mutant.id not in seen:
            seen.add(mutant.id)
            yield mutant


def stages_of(file: str, root: Path = PROJECT) -> list[list[str]]:
    """What pytest is told for a file, in its order; a later stage is asked only when all of an earlier one have passed."""
    if not file.endswith(".sql"):
        stages = [[one for one in stage if not one.endswith(".py") or (root / one).exists()] for stage in PYTHON_FILES[file]]
        return [stage for stage in stages if any(one.endswith(".py") for one in stage)]
    if "/query/" in file:
        tables = "condition_occurrence or fact_relationship or specimen" if "codes" in file else "measurement or observation"
        brief = ["tests/sql/test_cases.py", "--brief"]
        return [list(_integration("code_map")), [*brief, "-k", tables], list(_ORACLE), brief]
    stem = Path(file).stem
    readers = [stem] if "/transform/" in file else [n for n, one in transforms().items() if any(view.name == stem for view in views_of(one))]
    wanted = ["-k", " or ".join(readers)]
    return [["tests/sql/test_cases.py", *wanted, "--brief"], list(_ORACLE), ["tests/sql", *wanted]]
