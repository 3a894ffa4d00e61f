"""The command line: `omop-inc run | reload | verify | check | vocabulary | status | report | explain | doctor | db | sample`.

Belongs here: putting the commands together, and how an error ends the program. Does not: any command.
"""

import os
import sys
import traceback
from typing import Annotated

import typer

from omop_inc import __version__
from omop_inc.cli import db, sample
from omop_inc.cli.check import check
from omop_inc.cli.doctor import doctor
from omop_inc.cli.explain import explain
from omop_inc.cli.report import report
from omop_inc.cli.runs import reload, run, verify
from omop_inc.cli.store import status, vocabulary
from omop_inc.errors import EXIT_FAILED, OmopIncError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Keep an OMOP CDM 5.4 in PostgreSQL current from Synthea's CSV exports, by change data capture.",
)
for command in (run, reload, verify, check, vocabulary, status, report, explain, doctor):
    app.command()(command)
app.add_typer(db.app, name="db")
app.add_typer(sample.app, name="sample")


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False) -> None:
    if version:
        typer.echo(f"omop_inc {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; an error that a user can mend is one line, any other its place without its values."""
    try:
        app()
    except OmopIncError as error:
        print(f"omop-inc: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 - the message of an unknown error may quote a row
        if os.environ.get("OMOP_INC_DEBUG"):
            raise
        print("".join(traceback.format_tb(error.__traceback__)), file=sys.stderr)
        print(f"omop-inc: unexpected {type(error).__name__}; OMOP_INC_DEBUG=1 shows its text, which may hold values", file=sys.stderr)
        sys.exit(EXIT_FAILED)
