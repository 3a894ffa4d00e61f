"""The command line of `python -m flows.<name>`: options to parameters, a flow's final state to an exit code.

Belongs here: what a person at a terminal sees beside the run's own tables. Does not: the flow itself (running.py).
"""

import os
from collections.abc import Callable
from typing import Any

import typer
from prefect import Flow
from prefect.client.schemas.objects import State
from rich.console import Console

from flows.running import WATCHER
from omop_inc.cli.terminal import progress
from omop_inc.errors import EXIT_FAILED, EXIT_OK, OmopIncError
from omop_inc.settings import load_settings


def start(main: Callable[..., None]) -> None:
    """Run a flow's `main` as a program: its signature is the command line."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()


def run(flow: Flow[..., Any], database_url: str | None, **parameters: Any) -> int:
    """Run a flow in this process and tell its end.

    Args:
        flow: The flow.
        database_url: Stands for OMOP_INC_DATABASE_URL in this process; it is no parameter, since parameters can be read.
        parameters: The flow's.

    Returns:
        The exit code.
    """
    if database_url is not None:
        os.environ["OMOP_INC_DATABASE_URL"] = database_url
    errors = Console(stderr=True)
    try:
        load_settings(cdm_schema=parameters.get("cdm_schema"))  # a wrong setting shows before Prefect has started
        state = _run(flow, errors, parameters)
    except OmopIncError as error:
        return _tell(str(error), error.exit_code, errors)
    except Exception as error:  # noqa: BLE001 - nothing of ours raises here, so that it is Prefect's and holds no rows
        where = os.environ.get("PREFECT_API_URL", "a server of its own")
        return _tell(f"Prefect ({where}) did not run the flow: {type(error).__name__}: {str(error).strip()}", EXIT_FAILED, errors)
    if state.is_completed():
        return EXIT_OK
    stopped = state.result(raise_on_failure=False)
    return _tell(str(state.message), getattr(stopped, "exit_code", EXIT_FAILED), errors)


def _run(flow: Flow[..., Any], errors: Console, parameters: dict[str, Any]) -> State[Any]:
    with progress(errors) as listener:
        token = WATCHER.set(listener)
        try:
            ended: Any = flow(**parameters, return_state=True)
        finally:
            WATCHER.reset(token)
    return ended  # type: ignore[no-any-return]


def _tell(message: str, code: int, console: Console) -> int:
    console.print(f"omop-inc: {message}", markup=False, highlight=False, soft_wrap=True)
    return code
