"""How a process of ours uses its memory; called once, before anything large is imported.

Belongs here: settings of the interpreter and of the C library for the whole process. Does not: what a run may take (machine.py).
Nothing here alters what a program computes; a process that imports omop_inc as a library keeps its own settings.
"""

import contextlib
import ctypes
import gc
import os

# Objects made before the collector looks for cycles: with Python's 700 it looks 260 times during our imports alone, and
# finds next to nothing (0.9 s of them become 0.77).
GC_THRESHOLDS = (100_000, 50, 100)
# glibc gives freed blocks of 128 KiB back to the system at once, and has the next one zeroed anew: hashing 640 MB took
# 170,000 page faults, 0.3 s, instead of 7,000.
MMAP_THRESHOLD, TRIM_THRESHOLD = 4 << 20, 32 << 20

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def prepare_process() -> None:
    """Set how this process uses its memory."""
    # numpy's linear algebra, which we never use, starts threads that spin for 60 ms after its import.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(*GC_THRESHOLDS)
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        c_library = ctypes.CDLL(None)
        c_library.mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD)
        c_library.mallopt(_M_TRIM_THRESHOLD, TRIM_THRESHOLD)
