"""A program of ours settles its use of memory before it imports anything large; a user's own setting stays."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

# What is imported, and how the collector is set, when the command line begins.
LOOK = """
import gc, os, sys
import omop_inc.__main__ as program
class Cli:
    @staticmethod
    def main():
        print(gc.get_threshold()[0], os.environ["OPENBLAS_NUM_THREADS"], "numpy" in sys.modules)
sys.modules["omop_inc.cli"] = Cli
program.main()
"""


@pytest.mark.parametrize(("own", "used"), [({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3")])
def test_the_command_line_begins_in_a_settled_process(own: dict[str, str], used: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"} | own
    done = subprocess.run([sys.executable, "-c", LOOK], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["100000", used, "False"]


# A library that is loaded, whose code is called again behind it.
RELEASE = """
from pathlib import Path
import llvmlite.binding as llvm
from omop_inc.process import release_pages
def resident():
    return next(int(line.split()[1]) for line in Path("/proc/self/smaps_rollup").read_text().splitlines() if line.startswith("Rss:"))
before = resident()
released = release_pages("libllvmlite")
after = resident()
llvm.initialize_native_target()
print(released > 1 << 20, before - after > 10_000, llvm.get_host_cpu_name() != "", release_pages("no such library"))
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells what lies in memory")
def test_pages_of_a_library_are_given_back_and_come_again() -> None:
    done = subprocess.run([sys.executable, "-c", RELEASE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "True", "0"]


# Blocks between which others stay, so that the C library cannot give them back by itself.
FREE = """
import os
import platform
from omop_inc.process import release_heap
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
blocks = [b"x" * 50_000 for _ in range(2_000)]
kept = blocks[::20]
del blocks
before = resident()
release_heap()
print(before - resident() > 50_000_000, all(len(one) == 50_000 for one in kept))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc" or not Path("/proc/self/statm").exists(), reason="another C library has no malloc_trim")
def test_free_blocks_of_the_heap_are_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", FREE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
