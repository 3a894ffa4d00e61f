import pytest

from omop_inc.machine import GB, MB
from omop_inc.store.sizing import session_sizes


@pytest.mark.parametrize(
    ("cache_bytes", "sessions", "work_mem", "maintenance_work_mem"),
    [
        pytest.param(4 * GB, 3, "68MB", "273MB", id="a server that nobody tuned"),
        pytest.param(300 * MB, 3, "16MB", "64MB", id="the least"),
        pytest.param(48 * GB, 3, "256MB", "1024MB", id="the most"),
        pytest.param(48 * GB, 65, "37MB", "151MB", id="many sessions share"),
    ],
)
def test_sessions_share_what_the_server_says_it_has(cache_bytes: int, sessions: int, work_mem: str, maintenance_work_mem: str) -> None:
    assert session_sizes(cache_bytes, sessions) == {"work_mem": work_mem, "maintenance_work_mem": maintenance_work_mem}
