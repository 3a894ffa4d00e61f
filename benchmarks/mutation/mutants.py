"""One change of one file: where, what, and how it is applied to a text.

Belongs here: the value and its id. Does not: how changes are found (…_operators.py) and judged (scratch.py).
"""

import hashlib
from dataclasses import dataclass

AROUND = 100


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A piece of a text and what stands in its place."""

    start: int  # characters from the text's beginning
    end: int
    text: str
    operator: str


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """An edit of a named file."""

    file: str  # from the project's folder
    edit: Edit
    line: int
    before: str  # the piece that goes
    around: str  # the text before and behind it

    @property
    def operator(self) -> str:
        """The kind of change."""
        return self.edit.operator

    @property
    def id(self) -> str:
        """Names the change by what it does and what stands around it: lines added elsewhere leave the id as it is."""
        what = "|".join((self.file, self.operator, self.before, self.edit.text, self.around))
        return hashlib.sha256(what.encode()).hexdigest()[:10]

    def apply(self, text: str) -> str:
        """The file's text with the change."""
        return text[: self.edit.start] + self.edit.text + text[self.edit.end :]

    def describe(self) -> str:
        """The change in one line."""
        before, after = (" ".join(part.split()) for part in (self.before, self.edit.text))
        return f"`{_short(before)}` becomes `{_short(after)}`" if after else f"`{_short(before)}` goes"


def make_mutant(file: str, text: str, edit: Edit) -> Mutant:
    """The mutant of an edit."""
    around = f"{text[max(0, edit.start - AROUND) : edit.start]}|{text[edit.end : edit.end + AROUND]}"
    return Mutant(file=file, edit=edit, line=text.count("\n", 0, edit.start) + 1, before=text[edit.start : edit.end], around=around)


def _short(text: str, limit: int = 70) -> str:
    return text if len(text) <= limit else f"{text[: limit - 4]} ..."
