"""Settings beyond what the commands' tests see."""

from typing import get_args

import pytest

from omop_inc.errors import SettingsError
from omop_inc.settings import EXTREMES, Settings, Switch, load_settings


def test_switches_come_from_the_environment_parted_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMOP_INC_WITHOUT", "pool, unlogged")
    assert load_settings().without == {"pool", "unlogged"}
    monkeypatch.setenv("OMOP_INC_WITHOUT", "")
    assert load_settings().without == frozenset()


def test_an_unknown_switch_is_refused_and_the_known_ones_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMOP_INC_WITHOUT", "pool,speed")
    with pytest.raises(SettingsError, match="'analyze', 'binary_copy'.*'unlogged'"):
        load_settings()


def test_switches_that_are_another_setting_carry_it_to_its_extreme() -> None:
    plain = Settings(workers=7, chunk_rows=500)
    assert (plain.workers, plain.chunk_rows) == (7, 500)
    without = Settings(workers=7, chunk_rows=500, without=frozenset({"concurrency", "chunking"}))
    assert without.workers == 1
    assert without.chunk_rows > 10**9
    assert set(EXTREMES) <= set(get_args(Switch))
