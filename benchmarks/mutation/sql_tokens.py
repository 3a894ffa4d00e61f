"""SQL in pieces, each with its place in the text and its depth in parentheses.

Belongs here: splitting and finding. Does not: what is changed (sql_operators.py, sql_clauses.py).
A tokenizer of our own, so that a change is an edit of the text as it stands; Python's placeholders ({name}, %s) count as words.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"(?P<comment>--[^\n]*|/\*.*?\*/)|(?P<string>'(?:[^']|'')*')|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<word>[A-Za-z_\"{][\w\"}]*|%\(\w+\)s|%[sb])|(?P<symbol>::|<=|>=|!=|<>|\|\||[-+*/%=<>(),.;\[\]:~!^|&])|(?P<other>\S)",
    re.DOTALL,
)
# At the same depth, what ends a predicate or an item of a list.
CLAUSES = frozenset(
    ("SELECT", "FROM", "WHERE", "GROUP", "HAVING", "WINDOW", "ORDER", "LIMIT", "UNION", "EXCEPT", "INTERSECT", "JOIN", "INNER", "LEFT", "RIGHT")
) | {"FULL", "CROSS", "RETURNING", "SET", "USING", "WITH", "INSERT"}


@dataclass(frozen=True)
class Token:
    """One piece."""

    kind: str  # string, number, word, symbol, other
    text: str
    start: int
    depth: int  # of parentheses; a closing one has the depth outside

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.start + len(self.text)

    @property
    def upper(self) -> str:
        """Its text in capitals, to be held against keywords; a string is none."""
        return self.text.upper() if self.kind in ("word", "symbol") else ""


def tokenize(text: str, offset: int = 0) -> list[Token]:
    """The tokens of a text, comments left out; `offset` is added to their places."""
    tokens: list[Token] = []
    depth = 0
    for match in _TOKEN.finditer(text):
        kind = str(match.lastgroup)
        if kind == "comment":
            continue
        depth -= match[0] in (")", "]")
        tokens.append(Token(kind, match[0], match.start() + offset, depth))
        depth += match[0] in ("(", "[")
    return tokens


def end_of(tokens: list[Token], start: int, stops: frozenset[str]) -> int:
    """The index of the first token from `start` on that ends an expression: a stop word at its depth, or a parenthesis that closes."""
    if start >= len(tokens):
        return start
    depth, cases = tokens[start].depth, 0
    for at in range(start, len(tokens)):
        token = tokens[at]
        cases += token.upper == "CASE"
        if token.depth < depth or (token.depth == depth and not cases and (token.upper in stops or token.text == ";")):
            return at
        cases -= token.upper == "END" and cases > 0
    return len(tokens)


def split_list(tokens: list[Token], start: int, stops: frozenset[str]) -> list[tuple[int, int]]:
    """The items, as ranges of indexes, of a list with commas that starts at an index."""
    end = end_of(tokens, start, stops)
    items, first = [], start
    for at in range(start, end):
        if tokens[at].text == "," and tokens[at].depth == tokens[start].depth:
            items.append((first, at))
            first = at + 1
    return [*items, (first, end)] if first < end else items


def pairs(tokens: list[Token]) -> Iterator[tuple[int, Token, Token]]:
    """Each token with the one before it."""
    for at in range(1, len(tokens)):
        yield at, tokens[at - 1], tokens[at]
