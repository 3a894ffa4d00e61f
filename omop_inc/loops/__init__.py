"""The loops over every byte of an export, written for numba: cutting and hashing lines, and writing them for COPY.

Belongs here: loops over bytes that hold no object of Python, so that threads carry them out side by side. Does not: what a
line, a record or a hash is (source/lines.py, source/hashing.py), which say the same in Python; keeping, loading and calling what
comes of this (compiled.py), the only module that imports it, and only where a machine has no compiled loops yet.

Every argument is a number or an address. Nothing allocates or raises, so that the machine code needs no part of numba.
"""

from omop_inc.loops.copying import are_plain, put_rows, put_tuples
from omop_inc.loops.cutting import cut_lines

LOOPS = {"cut_lines": cut_lines, "put_rows": put_rows, "put_tuples": put_tuples, "are_plain": are_plain}
