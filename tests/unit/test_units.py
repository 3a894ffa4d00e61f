from pathlib import Path

import pytest

from omop_inc.cdm.units import unit_aliases, units_digest
from omop_inc.errors import SettingsError

# Every unit of the public exports that were looked at, of 2.7 to 3.3, which is not UCUM's own code.
REAL_UNITS = (
    "{score}", "(score)", "{#}", "{count}", "{T-score}", "{INR}", "ratio", "U/L", "kU/L", "mmHg", "/a", "[pH]", "mL/min/{1.73_m2}", "m[IU]/L",
    "{nominal}", "{presence}", "{SG}", "n/a", "null",
)  # fmt: skip


def own(folder: Path, text: str) -> Path:
    path = folder / "units.csv"
    path.write_bytes(text.encode())
    return path


def test_shipped_list_names_every_unit_of_the_real_exports() -> None:
    shipped = {alias.unit_source_value for alias in unit_aliases()}
    assert sorted(set(REAL_UNITS) - shipped) == []


def test_own_list_comes_beside_the_shipped_one(tmp_path: Path) -> None:
    found = [alias for alias in unit_aliases(own(tmp_path, "\ufeffunit_source_value,ucum_code\r\nmmHg,g\r\n\r\n{x},\r\n")) if alias.is_own]
    assert [(alias.place, alias.unit_source_value, alias.ucum_code) for alias in found] == [(2, "mmHg", "g"), (4, "{x}", None)]
    assert len(unit_aliases()) + 2 == len(unit_aliases(tmp_path / "units.csv"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "first line", id="empty"),
        pytest.param("unit,code\na,b\n", "first line", id="another header"),
        pytest.param("unit_source_value,ucum_code\na,b\nc\n", "line 3: expected a unit and its code but got 1 fields", id="a field too few"),
        pytest.param("unit_source_value,ucum_code\n,b\n", "line 2", id="no unit"),
    ],
)
def test_own_list_that_is_none_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=f"OMOP_INC_UNITS.*{message}"):
        unit_aliases(own(tmp_path, text))


def test_own_list_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "units.csv"
    path.write_bytes(b"unit_source_value,ucum_code\n\xb5g,ug\n")
    with pytest.raises(SettingsError, match="not UTF-8"):
        unit_aliases(path)


def test_digest_is_that_of_both_lists(tmp_path: Path) -> None:
    path = own(tmp_path, "unit_source_value,ucum_code\nx,g\n")
    first = units_digest(path)
    own(tmp_path, "unit_source_value,ucum_code\nx,kg\n")
    assert len({first, units_digest(path), units_digest()}) == 3
