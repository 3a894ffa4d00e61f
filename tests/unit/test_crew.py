"""A crew makes calls in this process and in others; what goes wrong there is told here."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from omop_inc.crew import Ask, Crew
from omop_inc.errors import DatabaseError, OmopIncError


def double(_ask: Ask, number: int, seconds: float = 0.0) -> tuple[int, int]:
    time.sleep(seconds)
    return os.getpid(), 2 * number


def ask_twice(ask: Ask, number: int) -> int:
    return ask(number) + ask(number + 1)


def fail(_ask: Ask, where: int) -> None:
    time.sleep(0.2)  # so that one member does not serve both calls
    if os.getpid() != where:
        raise DatabaseError("as it was told there", sqlstate="40001", is_transient=True)


def fail_strangely(_ask: Ask, where: int) -> None:
    class Strange(Exception):
        pass

    time.sleep(0.2)
    if os.getpid() != where:
        raise Strange("a value of a row")


def die(_ask: Ask, where: int) -> None:
    time.sleep(0.2)
    if os.getpid() != where:
        os.kill(os.getpid(), signal.SIGKILL)


def print_and_give(_ask: Ask, number: int) -> int:
    print("what a library prints", flush=True)
    time.sleep(0.2)
    return number


def test_results_come_in_the_order_of_the_calls_from_several_processes() -> None:
    with Crew(2) as crew:
        results = crew.each(double, [(number, 0.05) for number in range(8)])
    assert [value for _, value in results] == list(range(0, 16, 2))
    assert len({process for process, _ in results}) == 2


def test_crew_of_one_is_this_process() -> None:
    with Crew(1) as crew:
        assert crew.each(double, [(3,)]) == [(os.getpid(), 6)]
        assert crew.each(double, []) == []


def test_questions_are_answered_here() -> None:
    with Crew(2) as crew:
        assert crew.each(ask_twice, [(number,) for number in range(6)], lambda number: 10 * number) == [20 * n + 10 for n in range(6)]


def test_call_that_may_not_ask_is_stopped_and_the_crew_goes_on() -> None:
    with Crew(2) as crew:
        with pytest.raises(TypeError, match="may not ask"):
            crew.each(ask_twice, [(1,), (2,)])
        assert [value for _, value in crew.each(double, [(1, 0.1), (2, 0.1)])] == [2, 4]


def test_error_of_ours_arrives_whole() -> None:
    with Crew(2) as crew, pytest.raises(DatabaseError, match="as it was told there") as caught:
        crew.each(fail, [(os.getpid(),)] * 2)
    assert caught.value.sqlstate == "40001"
    assert caught.value.is_transient


def test_error_that_cannot_be_carried_is_told_by_its_type() -> None:
    with Crew(2) as crew, pytest.raises(RuntimeError, match="unexpected Strange") as caught:
        crew.each(fail_strangely, [(os.getpid(),)] * 2)
    assert "value of a row" not in str(caught.value)


def test_member_that_dies_stops_the_run() -> None:
    with Crew(2) as crew, pytest.raises(OmopIncError, match="ended .* in the middle of its work"):
        crew.each(die, [(os.getpid(),)] * 2)


def test_what_is_printed_does_not_disturb(capfd: pytest.CaptureFixture[str]) -> None:
    with Crew(2) as crew:
        assert crew.each(print_and_give, [(1,), (2,)]) == [1, 2]
    assert "what a library prints" in capfd.readouterr().err


def test_members_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    told = tmp_path / "process"
    program = (
        "import sys, threading, time; sys.path[:0] = sys.argv[2:]\n"
        "from omop_inc.crew import Crew\n"
        "from tests.unit.test_crew import write_and_sleep\n"
        "Crew(2).each(write_and_sleep, [(sys.argv[1],)] * 2)\n"
    )
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen([sys.executable, "-c", program, str(told), root])
    while len(list(tmp_path.iterdir())) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    members = {int(path.suffix[1:]) for path in tmp_path.iterdir()} - {process.pid}
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while any(is_running(member) for member in members):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(members) == 1


def write_and_sleep(_ask: Ask, path: str) -> None:
    Path(f"{path}.{os.getpid()}").touch()
    time.sleep(60)


def is_running(process: int) -> bool:
    state = Path(f"/proc/{process}/stat")
    if Path("/proc/self/stat").exists():
        return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
