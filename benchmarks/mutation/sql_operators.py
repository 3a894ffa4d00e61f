"""Changes of single words of SQL: a join, a comparison, a bound, a constant, a direction, a function.

Belongs here: changes that need a token and its neighbours. Does not: whole predicates, lists and branches (sql_clauses.py).
"""

import re
from collections.abc import Callable, Iterator

from benchmarks.mutation.mutants import Edit
from benchmarks.mutation.sql_tokens import Token, pairs

Operator = Callable[[list[Token], str], Iterator[Edit]]

_COMPARISONS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "=": "!=", "!=": "=", "<>": "="}
_BOUNDS = {"MIN": "max", "MAX": "min", "GREATEST": "least", "LEAST": "greatest"}
_PLAIN = frozenset({"LOWER", "UPPER", "TRIM", "TRIM_SCALE", "BTRIM", "RTRIM", "ABS"})
# A number from here on is a concept's id: the smallest of the mapping is 5083.
_CONCEPT_FROM = 4_000


def _edit(operator: str, token: Token, text: str, end: int | None = None) -> Edit:
    return Edit(start=token.start, end=token.end if end is None else end, text=text, operator=operator)


def joins(tokens: list[Token], text: str) -> Iterator[Edit]:
    """INNER for LEFT and back; LEFT for FULL."""
    other = {"INNER": "LEFT", "LEFT": "INNER", "FULL": "LEFT"}
    for _, before, token in pairs(tokens):
        if token.upper == "JOIN" and before.upper in other:
            yield _edit("join", before, other[before.upper])


def comparisons(tokens: list[Token], text: str) -> Iterator[Edit]:
    """A bound that is or is not in the range; equal for unequal."""
    for at, before, token in pairs(tokens):
        is_assignment = token.text == "=" and _clause_of(tokens, at) == "SET"
        if token.kind == "symbol" and token.text in _COMPARISONS and not is_assignment and before.text not in ("<", ">"):
            yield _edit("comparison", token, _COMPARISONS[token.text])


def _clause_of(tokens: list[Token], at: int) -> str:
    for token in reversed(tokens[:at]):
        if token.upper in ("SET", "WHERE", "ON", "WHEN", "SELECT", "FROM", "HAVING"):
            return token.upper
    return ""


def bounds(tokens: list[Token], text: str) -> Iterator[Edit]:
    """The least for the greatest."""
    for _, token, after in pairs(tokens):
        if after.text == "(" and token.upper in _BOUNDS:
            yield _edit("min/max", token, _BOUNDS[token.upper])


def days(tokens: list[Token], text: str) -> Iterator[Edit]:
    """A date a day later, an interval one unit longer."""
    for at, before, token in pairs(tokens):
        if before.text == "::" and token.upper == "DATE" and not (at + 1 < len(tokens) and tokens[at + 1].text == "["):
            yield _edit("day", token, f"{token.text} + 1")
        if before.upper == "INTERVAL" and token.kind == "string":
            yield _edit("day", token, re.sub(r"\d+", lambda match: str(int(match[0]) + 1), token.text))
        if before.upper == "DATE" and token.kind == "string":
            yield _edit("day", token, f"{token.text} + 1")


def numbers(tokens: list[Token], text: str) -> Iterator[Edit]:
    """A concept's id or another number, one more."""
    for _, before, token in pairs(tokens):
        if token.kind == "number" and before.text not in ("::", "."):
            value = str(int(token.text) + 1) if token.text.isdigit() else f"{token.text}1"
            is_concept = token.text.isdigit() and int(token.text) >= _CONCEPT_FROM
            yield _edit("concept" if is_concept else "number", token, value)


def strings(tokens: list[Token], text: str) -> Iterator[Edit]:
    """Another text constant."""
    for _, before, token in pairs(tokens):
        if token.kind == "string" and before.upper not in ("INTERVAL", "DATE", "COLLATE"):
            yield _edit("text", token, f"{token.text[:-1]}x'")


def booleans(tokens: list[Token], text: str) -> Iterator[Edit]:
    """AND for OR and back; the AND of a BETWEEN stays."""
    between: list[int] = []
    for token in tokens:
        if token.upper == "BETWEEN":
            between.append(token.depth)
        elif token.upper == "AND" and between and between[-1] == token.depth:
            between.pop()
        elif token.upper in ("AND", "OR"):
            yield _edit("and/or", token, "OR" if token.upper == "AND" else "AND")


def nulls(tokens: list[Token], text: str) -> Iterator[Edit]:
    """IS NULL and IS NOT NULL, (NOT) EXISTS, IS (NOT) DISTINCT FROM turned round."""
    for at, before, token in pairs(tokens):
        after = tokens[at + 1] if at + 1 < len(tokens) else None
        if before.upper == "IS" and token.upper in ("NULL", "DISTINCT"):
            yield _edit("null", before, f"IS NOT {token.text}", token.end)
        elif before.upper == "IS" and token.upper == "NOT" and after is not None:
            yield _edit("null", before, f"IS {after.text}", after.end)
        elif before.upper == "NOT" and token.upper in ("EXISTS", "IN"):
            yield _edit("null", before, token.text, token.end)


def sets(tokens: list[Token], text: str) -> Iterator[Edit]:
    """UNION ALL for UNION and back; DISTINCT gone."""
    for at, before, token in pairs(tokens):
        after = tokens[at + 1].upper if at + 1 < len(tokens) else ""
        if before.upper == "UNION":
            yield _edit("union", before, "UNION", token.end) if token.upper == "ALL" else _edit("union", before, "UNION ALL")
        if token.upper == "DISTINCT" and before.upper not in ("IS", "NOT") and after != "ON":
            yield _edit("distinct", token, "")


def functions(tokens: list[Token], text: str) -> Iterator[Edit]:
    """The argument in the place of lower(argument) and the like."""
    for _, token, after in pairs(tokens):
        if after.text == "(" and token.upper in _PLAIN:
            yield _edit("function", token, "")


def frames(tokens: list[Token], text: str) -> Iterator[Edit]:
    """A window that sees one row or group more."""
    for at, before, token in pairs(tokens):
        if token.upper in ("PRECEDING", "FOLLOWING") and before.text == "1":
            yield _edit("frame", before, "CURRENT ROW", tokens[at].end)
