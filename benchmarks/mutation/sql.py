"""All changes of a piece of SQL.

Belongs here: the list of operators. Does not: what each does (sql_operators.py, sql_clauses.py).
"""

from collections.abc import Iterator

from benchmarks.mutation import sql_clauses, sql_operators
from benchmarks.mutation.mutants import Edit
from benchmarks.mutation.sql_tokens import tokenize

OPERATORS: tuple[sql_operators.Operator, ...] = (
    sql_operators.joins,
    sql_operators.comparisons,
    sql_operators.bounds,
    sql_operators.days,
    sql_operators.numbers,
    sql_operators.strings,
    sql_operators.booleans,
    sql_operators.nulls,
    sql_operators.sets,
    sql_operators.functions,
    sql_operators.frames,
    sql_clauses.predicates,
    sql_clauses.select_items,
    sql_clauses.order_terms,
    sql_clauses.defaults,
    sql_clauses.branches,
)


def sql_edits(piece: str, text: str, offset: int = 0) -> Iterator[Edit]:
    """Every change of a piece of SQL that stands in a text at an offset."""
    tokens = tokenize(piece, offset)
    for operator in OPERATORS:
        yield from operator(tokens, text)
