"""How a process of ours uses its memory.

Belongs here: settings of the interpreter and of the C library for the whole process, made once before anything large is imported;
giving back what a library no longer needs. Does not: what a run may take (machine.py).
Nothing here alters what a program computes; a process that imports omop_inc as a library keeps its own settings.
"""

import contextlib
import ctypes
import gc
import os
import re
from pathlib import Path

# Objects made before the collector looks for cycles: with Python's 700 it looks 260 times during our imports alone, and
# finds next to nothing (0.9 s of them become 0.77).
GC_THRESHOLDS = (100_000, 50, 100)
# glibc gives freed blocks of 128 KiB back to the system at once, and has the next one zeroed anew: hashing 640 MB took
# 170,000 page faults, 0.3 s, instead of 7,000.
MMAP_THRESHOLD, TRIM_THRESHOLD = 4 << 20, 32 << 20

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MADV_DONTNEED = 4


def prepare_process() -> None:
    """Set how this process uses its memory."""
    # numpy's linear algebra, which we never use, starts threads that spin for 60 ms after its import.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(*GC_THRESHOLDS)
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        c_library = ctypes.CDLL(None)
        c_library.mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD)
        c_library.mallopt(_M_TRIM_THRESHOLD, TRIM_THRESHOLD)


def release_heap() -> None:
    """Give back what the C library keeps of memory that all threads have let go."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def release_pages(library: str) -> int:
    """Give back the pages of a shared library that hold what its file holds; they are read again if they are needed.

    Args:
        library: A part of its file's name.

    Returns:
        Bytes of address space given back; 0 on another system than Linux.
    """
    released = 0
    with contextlib.suppress(AttributeError, OSError):
        advise = ctypes.CDLL(None).madvise
        for mapping in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text()):
            place, size = _of_file(mapping, library)
            if size and not advise(ctypes.c_void_p(place), ctypes.c_size_t(size), _MADV_DONTNEED):
                released += size
    return released


def _of_file(mapping: str, library: str) -> tuple[int, int]:
    """Address and size of a mapping, if it is the library's, and no page of it was or can be altered; else no size."""
    head, _, facts = mapping.partition("\n")
    places, rights = head.split()[:2]
    start, end = (int(place, 16) for place in places.split("-"))
    is_of_file = library in head and "w" not in rights and re.search(r"^Anonymous: +0 kB$", facts, re.MULTILINE) is not None
    return start, end - start if is_of_file else 0
