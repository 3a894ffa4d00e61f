"""Changes of Python: by its syntax tree, and of the SQL in its strings.

Belongs here: the kinds of change and where they make sense. Does not: SQL's own (sql_operators.py, sql_clauses.py).
Left alone: docstrings, annotations, decorators, messages of errors and warnings, and asserts, which are for the reader and the type checker.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from itertools import accumulate

from benchmarks.mutation.mutants import Edit
from benchmarks.mutation.sql import sql_edits

_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.In: "not in", ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is",
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "//", ast.Mod: "*", ast.LShift: ">>", ast.RShift: "<<", ast.BitAnd: "|", ast.BitOr: "&",
}  # fmt: skip
_SQL = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|WHERE|FROM|JOIN|ORDER BY|GROUP BY|COALESCE|ON)\b|\b(coalesce|count|sum|min|max)\(")
_OPERATOR = re.compile(r"[^\s()]+(?:\s+(?:in|not)\b)?")
# Speed alone, or words for people.
_UNOBSERVED = ("recorder", "counts", "warnings", "listener")
_UNLIKE = ("connection", "run", "schemas", "database", "name", "map", "isinstance", "execute", "repeat")


class Source:
    """A module's text with its tree and the places of its lines."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = ast.parse(text)
        lines = text.splitlines(keepends=True)
        self._starts = [0, *accumulate(map(len, lines))]
        self._lines = lines

    def place(self, line: int, column: int) -> int:
        """The character at a line and a column of UTF-8 bytes, as the tree counts."""
        before = self._lines[line - 1].encode()[:column].decode()
        return self._starts[line - 1] + len(before)

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """Where a node begins and ends."""
        return self.place(node.lineno, node.col_offset), self.place(node.end_lineno or node.lineno, node.end_col_offset or 0)

    def source(self, node: ast.expr | ast.stmt) -> str:
        """The text of a node."""
        start, end = self.span(node)
        return self.text[start:end]

    def between(self, left: ast.expr, right: ast.expr, word: str, operator: str) -> Edit:
        """Another operator between two nodes; parentheses and line breaks around it stay."""
        start, end = self.span(left)[1], self.span(right)[0]
        text = _OPERATOR.sub(lambda match: word, self.text[start:end], count=1)
        return Edit(start=start, end=end, text=text, operator=operator)


def python_edits(text: str) -> Iterator[Edit]:
    """Every change of a module."""
    source = Source(text)
    for node in _walk(source.tree):
        if isinstance(node, ast.expr):
            yield from _expressions(source, node)
        elif isinstance(node, ast.stmt):
            yield from _statements(source, node)
    yield from _sql_in_strings(source)


def _walk(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that are left alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Assert, ast.Raise, ast.ImportFrom, ast.Import)) or _is_docstring(node) or _is_told(node):
            if isinstance(node, ast.Raise):
                yield node
            continue
        if isinstance(node, ast.AnnAssign):
            yield from ([node.value, *_walk(node.value)] if node.value is not None else [])
            continue
        if isinstance(node, ast.arguments):
            yield from [*node.defaults, *(one for one in node.kw_defaults if one is not None)]
            continue
        yield node
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            for part in ([node.args] if isinstance(node, ast.FunctionDef) else []) + list(node.body):
                yield from _walk(ast.Module(body=[part], type_ignores=[])) if isinstance(part, ast.stmt) else _walk(part)
        else:
            yield from _walk(node)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_told(node: ast.AST) -> bool:
    """Whether a statement only counts or tells."""
    if isinstance(node, ast.Expr | ast.Assign):
        text = ast.unparse(node)
        return any(text.startswith((f"{word}.", f"run.{word}.", f"run.summary.{word}", f"intake.{word}.")) for word in _UNOBSERVED) or (
            "ANALYZE" in text or "Literal[" in text or text.startswith("what =")
        )
    return False


def _expressions(source: Source, node: ast.expr) -> Iterator[Edit]:
    start, end = source.span(node)
    match node:
        case ast.Compare(left=left, ops=[operator], comparators=[right]) if type(operator) in _COMPARISONS:
            yield source.between(left, right, _COMPARISONS[type(operator)], "comparison")
        case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _ARITHMETIC and not _is_text(left, right):
            yield source.between(left, right, _ARITHMETIC[type(operation)], "arithmetic")
        case ast.BoolOp(op=kind, values=[left, right, *_]):
            yield source.between(left, right, "or" if isinstance(kind, ast.And) else "and", "and/or")
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield Edit(start=start, end=end, text=source.source(operand), operator="not")
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield Edit(start=start, end=end, text=source.source(operand), operator="arithmetic")
        case ast.IfExp(test=test):
            yield Edit(start=source.span(test)[0], end=source.span(test)[1], text="False", operator="branch")
        case ast.Constant():
            yield from _constants(source, node)
        case ast.Call(args=[first, second, *_]) if _is_swappable(node, first, second):
            between = source.text[source.span(first)[1] : source.span(second)[0]]
            text = source.source(second) + between + source.source(first)
            yield Edit(start=source.span(first)[0], end=source.span(second)[1], text=text, operator="swap arguments")
        case _:
            pass


def _constants(source: Source, node: ast.Constant) -> Iterator[Edit]:
    start, end = source.span(node)
    match node.value:
        case bool() as truth:
            yield Edit(start=start, end=end, text=str(not truth), operator="constant")
        case int() as number:
            yield Edit(start=start, end=end, text=str(number + 1), operator="constant")
        case bytes() as data if data and source.text[end - 1] == '"':
            yield Edit(start=end - 1, end=end - 1, text="x", operator="constant")
        case _:
            pass


def _is_swappable(call: ast.Call, first: ast.expr, second: ast.expr) -> bool:
    """Whether two arguments might be taken for each other; a connection or a schema in the wrong place stops at once and proves nothing."""
    words = [ast.unparse(node) for node in (call.func, first)]
    plain = ast.Name | ast.Attribute | ast.Subscript
    return isinstance(first, plain) and isinstance(second, plain) and not any(word.split(".")[0] in _UNLIKE for word in words)


def _is_text(*nodes: ast.expr) -> bool:
    return any(isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)) for node in nodes)


def _statements(source: Source, node: ast.stmt) -> Iterator[Edit]:
    start, end = source.span(node)
    match node:
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise():
            yield Edit(start=start, end=end, text="pass", operator="statement")
        case ast.Continue() | ast.Break():
            yield Edit(start=start, end=end, text="pass", operator="statement")
        case ast.If(test=test):
            for value in ("True", "False"):
                yield Edit(start=source.span(test)[0], end=source.span(test)[1], text=value, operator="condition")
        case _:
            pass


def _sql_in_strings(source: Source) -> Iterator[Edit]:
    """The SQL operators inside the string literals that hold SQL."""
    statements = (node for node in ast.walk(source.tree) if isinstance(node, ast.stmt))
    skipped = [source.span(node) for node in statements if isinstance(node, ast.Raise | ast.Assert) or _is_docstring(node) or _is_told(node)]
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type != tokenize.STRING or not _SQL.search(token.string):
            continue
        place = source.place(token.start[0], len(token.line[: token.start[1]].encode()))
        if any(start <= place < end for start, end in skipped):
            continue
        opening = token.string.index(token.string[-1]) + 1
        yield from sql_edits(token.string[opening:-1], source.text, place + opening)
