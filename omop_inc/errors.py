"""The errors that a caller might want to tell apart, and the exit code of each.

Belongs here: exception classes and exit codes. Does not: translating a driver's errors (store/db.py).
A message says where, what was expected and what came, and what to do; it never quotes a value of a row.
"""

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3


class OmopIncError(Exception):
    """Something stopped the run; the message says where, what was expected and what to do."""

    exit_code = EXIT_FAILED


class SettingsError(OmopIncError):
    """A setting or option is wrong or its target does not exist; correct it and start again."""

    exit_code = EXIT_USAGE


class SourceFileError(OmopIncError):
    """A source file cannot be read as what it should be; nothing of the snapshot was applied.

    Export or transfer the file again, or, for an unknown column, allow it with `--unknown-columns ignore`.
    """

    exit_code = EXIT_USAGE

    def __init__(
        self,
        message: str,
        *,
        table: str | None = None,
        file: str | None = None,
        line: int | None = None,
        rule: str | None = None,
    ) -> None:
        super().__init__(message)
        self.table, self.file, self.line, self.rule = table, file, line, rule


class VocabularyError(OmopIncError):
    """The vocabulary is missing or cannot be loaded; load an Athena folder or zip that is whole."""

    exit_code = EXIT_USAGE


class SnapshotRefusedError(OmopIncError):
    """A guard stopped the snapshot because applying it would lose data; look, then allow this snapshot by its digest."""

    exit_code = EXIT_REFUSED

    def __init__(self, message: str, *, rule: str, snapshot_digest: str, facts: dict[str, object]) -> None:
        super().__init__(message)
        self.rule, self.snapshot_digest, self.facts = rule, snapshot_digest, facts


class RunBusyError(OmopIncError):
    """Another run holds this CDM; this one ends as skipped and the next tick tries again."""

    exit_code = EXIT_OK


class StateMismatchError(OmopIncError):
    """The stored state does not fit this code or the stored data; the message names the remedy."""


class TransformError(OmopIncError):
    """A SQL transform failed; its file and PostgreSQL's error code are named, its data are not."""

    def __init__(self, message: str, *, transform: str, sqlstate: str | None) -> None:
        super().__init__(message)
        self.transform, self.sqlstate = transform, sqlstate


class CheckFailed(OmopIncError):
    """A check marked *fail* found rows, so the run stopped before its commit and the CDM is as it was."""


class CheckFileError(OmopIncError):
    """A file of a check is not what it should be, or PostgreSQL refuses its SQL; the message names the file."""

    exit_code = EXIT_USAGE


class DatabaseError(OmopIncError):
    """PostgreSQL refused a statement; `sqlstate` says why and `is_transient` whether trying again can help."""

    def __init__(self, message: str, *, sqlstate: str | None = None, is_transient: bool = False) -> None:
        super().__init__(message)
        self.sqlstate, self.is_transient = sqlstate, is_transient
