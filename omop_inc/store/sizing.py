"""How much memory a run's sessions take, from what the server says of itself and how many they are.

Belongs here: the session's sizes. Does not: the server's own settings (postgres_conf.py), workers and chunks (settings.py).

The size of the delta does not come in: these are limits, and a small delta stays far below them.
"""

from omop_inc.machine import GB, MB

# effective_cache_size is all that a client learns of a server's memory; unset it says 4 GB, which is then 68 MB a sort with
# two workers. All sessions together, a sort each, stay within a twentieth; a transform has up to four at a time.
WORK_MEM_SHARE, WORK_MEM_MIN, WORK_MEM_MAX = 1 / 20, 16 * MB, 256 * MB
# Index builds, one a session, in a fifth; above 1 GB they do not get faster.
MAINTENANCE_SHARE, MAINTENANCE_MIN, MAINTENANCE_MAX = 1 / 5, 64 * MB, 1 * GB


def session_sizes(cache_bytes: int, sessions: int) -> dict[str, str]:
    """The memory settings of the sessions that work at once.

    Args:
        cache_bytes: The server's effective_cache_size.
        sessions: How many there may be.
    """
    return {
        "work_mem": _size(cache_bytes * WORK_MEM_SHARE / sessions, WORK_MEM_MIN, WORK_MEM_MAX),
        "maintenance_work_mem": _size(cache_bytes * MAINTENANCE_SHARE / sessions, MAINTENANCE_MIN, MAINTENANCE_MAX),
    }


def _size(wanted: float, least: int, most: int) -> str:
    return f"{max(least, min(most, int(wanted))) // MB}MB"
