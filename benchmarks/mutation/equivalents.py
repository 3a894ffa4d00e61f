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


EQUIVALENCES: tuple[Equivalence, ...] = (
    Equivalence(
        file=r"sql/transform/",
        operator="join",
        context=r"<INNER> JOIN (patients|visit_detail)\b",
        reason="Every loaded row has its patient, every encounter its visit_detail: rows without a parent are pending.",
    ),
    Equivalence(
        file=r"sql/transform/",
        operator="distinct",
        context=r"INSERT INTO new_content_id \(id_key\)\s+SELECT <DISTINCT> clinical_event\.id_key",
        reason="One key per source row and further target, so there is nothing to make distinct.",
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
        file=r"sql/transform/",
        operator="predicate",
        context=r"FROM code_map\s+WHERE\s+<code_map\.ordinal > 1>|ordinal > 1\s+AND <code_map\.target_table = '\w+'>\s+\)",
        reason="Saves the look at all rows where no code has a second target; the predicates on the row itself say the same.",
    ),
    Equivalence(
        file=r"sql/transform/",
        operator="and/or",
        context=r"code_map\.ordinal > 1\s+<AND> code_map\.target_table = '\w+'\s+\)",
        reason="Saves the look at all rows where no code has a second target; the predicates on the row itself say the same.",
    ),
    Equivalence(
        file=r"sql/transform/",
        operator="comparison",
        context=r"code_map\.ordinal <>> 1\s+(AND code_map\.target_table = '\w+'\s+)?\)",
        reason="Saves the look at all rows where no code has a second target; the predicates on the row itself say the same.",
    ),
    Equivalence(
        file=r"sql/transform/",
        operator="predicate",
        context=r"AND <clinical_event\.ordinal > 1>",
        reason="A second rank in a table is at least the second target of the code; the line spares the planner.",
    ),
    Equivalence(
        file=r"sql/transform/cost",
        operator="predicate",
        context=r"FILTER \(WHERE <\w+ IS NOT NULL>\)",
        reason="A sum passes by what is NULL; the filter saves memory.",
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
        context=r"reason_pair\s+<UNION ALL>\s+SELECT\s+site_pair",
        reason="The rows that are written are made distinct in the end.",
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
        file=r"sql/transform/location",
        operator="join",
        context=r"<INNER> JOIN content_id",
        reason="Every key was given its id just before.",
    ),
)


def reason_of(mutant: Mutant) -> str:
    """Why a mutant changes nothing; empty if no rule names it."""
    before, _, behind = mutant.around.partition("|")
    text = f"{before}<{mutant.before}>{behind}"
    for rule in EQUIVALENCES:
        if rule.operator == mutant.operator and re.search(rule.file, mutant.file) and re.search(rule.context, text):
            return rule.reason
    return ""
