"""Changes that no test can tell from the original, each with its reason.

Belongs here: rules that name such a change by its text. Does not: changes that are only not noticed yet.
A mutant that a rule names is told apart on the page, and is no part of the share that is killed.
"""

import re
from dataclasses import dataclass

from benchmarks.mutation.mutants import Mutant


@dataclass(frozen=True, kw_only=True)
class Equivalence:
    """A kind of change in some files."""

    file: str  # regular expression over the file's name
    operator: str
    context: str  # regular expression over the text around the change, with <> where it is
    reason: str
    becomes: str = ""  # what stands in its place, where that matters


EQUIVALENCES: tuple[Equivalence, ...] = (
    Equivalence(
        file=r"sql/transform/",
        operator="join",
        context=r"<INNER> JOIN (patients|visit_detail)\b",
        reason="Every loaded row has its patient, every encounter its visit_detail: rows without a parent are pending.",
    ),
    Equivalence(
        file=r"sql/view/",
        operator="union",
        context=r"<UNION ALL>\s+SELECT\s+('\w+'( AS source_table)?,\s+)?(NULL AS )?row_id",
        reason="Each row has its row_id, so no two are alike.",
    ),
    Equivalence(
        file=r"sql/view/event_date",
        operator="union",
        context=r"<UNION ALL>",
        reason="The branches differ in source_table, and each has one row per patient.",
    ),
    Equivalence(
        file=r"sql/view/claim_line",
        operator="text",
        context=r"concat_ws\(<' '>",
        reason="line_kind only tells kinds apart, whatever stands between its parts.",
    ),
    Equivalence(
        file=r"sql/view/event_date",
        operator="text",
        context=r"SELECT\s+<'\w+'> AS source_table",
        reason="Both readers of the view take the least and the greatest of all tables and never the table's name.",
    ),
    Equivalence(
        file=r"sql/transform/cost",
        operator="predicate",
        context=r"FILTER \(WHERE <\w+ IS NOT NULL>\)",
        reason="A sum passes by what is NULL; the filter saves memory.",
    ),
    Equivalence(
        file=r"sql/transform/cost",
        operator="predicate",
        context=r"charge_count > 1\s+AND <encounter IS NOT NULL>|AND <(code|start_at) IS NOT NULL>",
        reason="The join that follows finds nothing for what is NULL; the line says which items the next step takes whole.",
    ),
    Equivalence(
        file=r"sql/transform/cost",
        operator="predicate",
        context=(
            r"ON\s+<(ranked_row\.patient = ranked_item\.patient|encounters\.patient = visit_item\.patient)>"
            r"|AND <(claim_line\.patient = repeated_item\.patient|item_match\.patient = claims\.patientid)>"
        ),
        reason="An encounter and a claim are one person's, and a row that names another person's is not loaded.",
    ),
    Equivalence(
        file=r"sql/transform/cost",
        operator="number",
        context=r"<1> AS charge_count,\s+sum\(charge\)",
        reason="Of a split item's charges only that there are some is asked.",
    ),
    Equivalence(
        file=r"sql/transform/cost",
        operator="order term",
        context=r"FROM claim_line\s+ORDER BY\s[^()]*<",
        reason="Lines are sorted for speed alone: the sums and counts of an item are the same in any order.",
    ),
    Equivalence(
        file=r"sql/transform/cost",
        operator="direction",
        context=r"FROM claim_line\s+ORDER BY\s[^()]*<>",
        reason="Lines are sorted for speed alone: the sums and counts of an item are the same in any order.",
    ),
    Equivalence(
        file=r"sql/transform/(drug|dose)_era",
        operator="number",
        context=r"WHERE drug_concept_id <> <0>",
        reason="Concept 0 has no ancestors, so it is no ingredient's drug; the filter saves a look.",
    ),
    Equivalence(
        file=r"sql/transform/fact_relationship",
        operator="union",
        context=r"FROM reason_pair\s+<UNION ALL>|bodysite_code IS NOT NULL\s+<UNION ALL>\s+-- an unmatched study",
        reason="No pair of rows is linked twice: one condition per reason, one row per body site of a study.",
    ),
    Equivalence(
        file=r"omop_inc/(cdm/world|store/pairing|store/fates)",
        operator="union",
        context=r"<UNION ALL> SELECT \{(listed|names)\}|<UNION ALL> SELECT row_id",
        reason="Each row has its row_id and is in one of the two alone.",
    ),
    Equivalence(
        file=r"omop_inc/store/row_ids",
        operator="predicate",
        context=r"WHERE <row_id IS NOT NULL>\) AS numbered",
        reason="string_agg passes by what is NULL, and hash beside NULL is NULL; the predicate saves the look.",
    ),
    Equivalence(
        file=r"omop_inc/source/records",
        operator="branch",
        context=r"batch if <len\(kept\) == size> else _keep",
        reason="A batch of which all lines are kept is that batch; the branch saves a copy.",
    ),
    Equivalence(
        file=r"sql/view/clinical_event",
        operator="comparison",
        context=r"WHEN routed\.target_rank <>> 1\s+THEN content_key",
        reason="The key of a first target is never asked for.",
    ),
    Equivalence(
        file=r"sql/transform/(location|payer_plan_period)",
        operator="join",
        context=r"<INNER> JOIN content_id",
        reason="Every key was given its id just before.",
    ),
    Equivalence(
        file=r"omop_inc/source/deltas",
        operator="condition",
        context=r"if <not len\(new\.values\)>:\s+return mask",
        becomes="False",
        reason="Without a new value nothing is looked up and the same empty mask is given; the condition saves a look.",
    ),
    Equivalence(
        file=r"sql/query/resolve_answers",
        operator="min/max",
        context=r"<min>\(concept_id\) AS concept_id,\s+count\(DISTINCT concept_id\)",
        reason="Asked for only where there is one.",
    ),
    Equivalence(
        file=r"sql/query/resolve_answers",
        operator="union",
        context=r"<UNION ALL>\s+-- 'Never smoked",
        reason="The two differ in kind, and in neither is a text twice with one concept.",
    ),
    Equivalence(
        file=r"omop_inc/source/lines",
        operator="condition",
        context=r"if <b.{4} in block>:\s+special =",
        becomes="True",
        reason="Only lines with a backslash are special; the condition saves the look at each.",
    ),
    Equivalence(
        file=r"sql/transform/(dose|condition)_era",
        operator="direction",
        context=r"ORDER BY start_date, end_date<>\s+ROWS",
        reason="Of rows that start on one day any order gives the same eras.",
    ),
    Equivalence(
        file=r"sql/(transform/fact_relationship|view/reason_event)",
        operator="join",
        context=r"<LEFT> JOIN code_map\s+ON\s+(condition_code|reason)\.",
        reason="Every code in use has a row in code_map, with concept 0 where nothing maps.",
    ),
    Equivalence(
        file=r"sql/transform/fact_relationship",
        operator="distinct",
        context=r"SELECT <DISTINCT>\s+patient,\s+reasoncode,\s+start_date\s+FROM event",
        reason="The next step takes one condition for each of them; what is alike goes the same way, at more cost.",
    ),
    Equivalence(
        file=r"sql/transform/fact_relationship",
        operator="join",
        context=r"FROM event\s+<INNER> JOIN reason_condition",
        reason="Without a condition there is no table of it, and the join of that table's domain leaves the row out.",
    ),
    Equivalence(
        file=r"sql/transform/fact_relationship",
        operator="join",
        context=r"FROM site\s+<INNER> JOIN procedures",
        reason="Without a procedure there is no id of one, and the join of procedure_occurrence leaves the row out.",
    ),
    Equivalence(
        file=r"sql/transform/(fact_relationship|cost)",
        operator="direction",
        context=r"\s(reason\.(patient|reasoncode|start_date)|stretch\.(person_id|first_day)) <ASC>",
        reason="The order of the groups, each of which gives one row, whichever comes first.",
    ),
    Equivalence(
        file=r"sql/transform/fact_relationship",
        operator="join",
        context=r"<INNER> JOIN fact_domain\b",
        reason="Every table that a code can lead to is in the list.",
    ),
    Equivalence(
        file=r"sql/transform/fact_relationship",
        operator="predicate",
        context=r"ON\s+<site\.patient = procedures\.patient>",
        reason="An encounter is one person's, and a row that names another person's is not loaded.",
    ),
    Equivalence(
        file=r"sql/transform/fact_relationship",
        operator="join",
        context=r"<LEFT> JOIN fixed_concept\b",
        reason="Every concept that the mapping names has its row, with 0 where the vocabulary lacks it; no transform relies on it (test_transforms).",
    ),
    Equivalence(
        file=r"sql/transform/fact_relationship",
        operator="coalesce",
        context=r"\b(fixed_concept|forward|backward)\.concept_id( END)?<, 0>\)",
        reason="Every concept that the mapping names has its row, with 0 where the vocabulary lacks it; no transform relies on it (test_transforms).",
    ),
    Equivalence(
        file=r"sql/transform/fact_relationship",
        operator="number",
        context=r"\b(fixed_concept|forward|backward)\.concept_id( END)?, <0>\)",
        reason="Every concept that the mapping names has its row, with 0 where the vocabulary lacks it; no transform relies on it (test_transforms).",
    ),
    Equivalence(
        file=r"sql/transform/drug_era",
        operator="distinct",
        context=r"SELECT <DISTINCT> drug_concept_id\s+FROM drug_exposure",
        reason="The next step makes its rows distinct.",
    ),
    Equivalence(
        file=r"sql/transform/observation",
        operator="join",
        context=r"<INNER> JOIN allergies\s+ON allergy\.row_id = allergies\.row_id",
        reason="The rows before it are those of allergies.",
    ),
    Equivalence(
        file=r"sql/transform/cost",
        operator="union",
        context=r"<UNION ALL>\s+SELECT\s+('(Drug|Procedure)'|domain_id),\s+row_id",
        reason="Each row has its row_id, so no two are alike.",
    ),
    Equivalence(
        file=r"omop_inc/runs/increment",
        operator="condition",
        context=r"if <run\.settings\.mode == .snapshot.>:\s+with run\.recorder\.step\(.guard.\)",
        becomes="True",
        reason="In append mode a row leaves only where another of its key comes, so that none is lost; the condition saves the look.",
    ),
    Equivalence(
        file=r"omop_inc/cdm/results",
        operator="join",
        context=r"AS seen <INNER> JOIN \{\} AS image ON image\.\{\} = seen\.patient",
        reason="An encounter without a priced row gives a row without an id, and no cost has that.",
    ),
    Equivalence(
        file=r"omop_inc/cdm/results",
        operator="union",
        context=r"WHERE scope\.is_whole <UNION ALL> \{\}",
        reason="A person is looked at whole or by encounters, and each row has its key.",
    ),
    Equivalence(
        file=r"omop_inc/cdm/scope",
        operator="distinct",
        context=r"INSERT INTO \{routed\} SELECT <DISTINCT> target_table, patient, encounter",
        reason="The scopes that are made of these rows are made distinct; it saves rows.",
    ),
    Equivalence(
        file=r"omop_inc/cdm/dimensions",
        operator="distinct",
        context=r"SELECT <DISTINCT> near FROM",
        reason="The location transform makes its places distinct; the word saves rows.",
    ),
    Equivalence(
        file=r"omop_inc/runs/detect",
        operator="constant",
        context=r"none = np\.empty\(\(0, <2>\)",
        reason="No row is as much in three columns; only the first is read.",
    ),
    Equivalence(
        file=r"sql/view/place",
        operator="swap columns",
        context=r"<state_code AS spelling,\s+state_code>",
        reason="Both columns are the same.",
    ),
)


def reason_of(mutant: Mutant) -> str:
    """Why a mutant changes nothing; empty if no rule names it."""
    before, _, behind = mutant.around.partition("|")
    text = f"{before}<{mutant.before}>{behind}"
    for rule in EQUIVALENCES:
        is_meant = rule.operator == mutant.operator and rule.becomes in ("", mutant.edit.text)
        if is_meant and re.search(rule.file, mutant.file) and re.search(rule.context, text):
            return rule.reason
    return ""
