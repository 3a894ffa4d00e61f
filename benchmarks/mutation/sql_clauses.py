"""Changes of whole predicates, list items and branches of SQL.

Belongs here: changes that need the extent of an expression. Does not: single words (sql_operators.py).
"""

from collections.abc import Iterator

from benchmarks.mutation.mutants import Edit
from benchmarks.mutation.sql_tokens import CLAUSES, Token, end_of, pairs, split_list

_PREDICATE_END = CLAUSES | {"AND", "OR", "ON", "THEN"}
_ORDER_END = CLAUSES | {"ROWS", "RANGE", "GROUPS"}
_COLUMN = ("word", "symbol")


def predicates(tokens: list[Token], text: str) -> Iterator[Edit]:
    """A predicate of WHERE, HAVING or ON that always holds."""
    for at in range(len(tokens)):
        if _starts_predicates(tokens, at):
            for start, end in _conjuncts(tokens, at + 1):
                if end > start:
                    yield Edit(start=tokens[start].start, end=tokens[end - 1].end, text="true", operator="predicate")


def _starts_predicates(tokens: list[Token], at: int) -> bool:
    after = tokens[at + 1].upper if at + 1 < len(tokens) else ""
    before = tokens[at - 1].upper if at else ""
    if tokens[at].upper == "ON":
        return after not in ("COMMIT", "CONFLICT", "DELETE", "UPDATE") and before != "DISTINCT"
    return tokens[at].upper in ("WHERE", "HAVING")


def _conjuncts(tokens: list[Token], start: int) -> Iterator[tuple[int, int]]:
    while start < len(tokens):
        end = end_of(tokens, start, _PREDICATE_END)
        if "BETWEEN" in {token.upper for token in tokens[start:end] if token.depth == tokens[start].depth} and end < len(tokens):
            end = end_of(tokens, end + 1, _PREDICATE_END)
        yield start, end
        if end >= len(tokens) or tokens[end].upper not in ("AND", "OR") or tokens[end].depth != tokens[start].depth:
            return
        start = end + 1


def select_items(tokens: list[Token], text: str) -> Iterator[Edit]:
    """Two neighbouring columns of a SELECT list in each other's place, under the names that were there."""
    for at, token in enumerate(tokens):
        if token.upper != "SELECT" or at + 1 >= len(tokens) or tokens[at + 1].upper == "DISTINCT":
            continue
        items = [_column(tokens, *item) for item in split_list(tokens, at + 1, CLAUSES)]
        for one, other in zip(items, items[1:], strict=False):
            if one and other:
                (first, first_name, start, one_end), (second, second_name, other_start, end) = one, other
                between = text[one_end:other_start]
                yield Edit(start=start, end=end, text=f"{second} AS {first_name}{between}{first} AS {second_name}", operator="swap columns")


def _column(tokens: list[Token], start: int, end: int) -> tuple[str, str, int, int] | None:
    """A list item that is a plain column, perhaps named: expression, name, place."""
    item = tokens[start:end]
    words = [token.text for token in item]
    name = words[-1] if words else ""
    if len(words) > 2 and words[-2].upper() == "AS":
        words = words[:-2]
    is_plain = len(words) in (1, 3) and all(token.kind in _COLUMN for token in item) and (len(words) == 1 or words[1] == ".")
    if not is_plain or not words[0][0].isalpha() or words[0].upper() in ("NULL", "TRUE", "FALSE"):
        return None
    return "".join(words), name, item[0].start, item[-1].end


def order_terms(tokens: list[Token], text: str) -> Iterator[Edit]:
    """A term of an ORDER BY gone, or its direction turned."""
    for at, before, token in pairs(tokens):
        if not (before.upper == "ORDER" and token.upper == "BY"):
            continue
        items = split_list(tokens, at + 1, _ORDER_END)
        for number, (start, end) in enumerate(items):
            if end <= start:
                continue
            first, last = tokens[start], tokens[end - 1]
            if len(items) > 1:
                begin = first.start if number == 0 else tokens[items[number - 1][1] - 1].end
                stop = tokens[items[1][0]].start if number == 0 else last.end
                yield Edit(start=begin, end=stop, text="", operator="order term")
            if last.upper in ("ASC", "DESC"):
                yield Edit(start=last.start, end=last.end, text="DESC" if last.upper == "ASC" else "ASC", operator="direction")
            elif last.upper not in ("FIRST", "LAST"):
                yield Edit(start=last.end, end=last.end, text=" DESC", operator="direction")


def defaults(tokens: list[Token], text: str) -> Iterator[Edit]:
    """Coalesce without its last argument."""
    for at, token, after in pairs(tokens):
        if token.upper == "COALESCE" and after.text == "(":
            items = split_list(tokens, at + 1, frozenset())
            if len(items) > 1:
                start, end = items[-2][1], items[-1][1]
                yield Edit(start=tokens[start].start, end=tokens[end - 1].end, text="", operator="coalesce")


def branches(tokens: list[Token], text: str) -> Iterator[Edit]:
    """A branch of a CASE that is never taken."""
    stops = frozenset({"WHEN", "ELSE", "END", "THEN"})
    for at, token in enumerate(tokens):
        if token.upper == "WHEN" and at + 1 < len(tokens):
            end = end_of(tokens, at + 1, stops)
            if end < len(tokens) and tokens[end].upper == "THEN":
                yield Edit(start=tokens[at + 1].start, end=tokens[end - 1].end, text="false", operator="branch")
