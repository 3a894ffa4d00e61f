"""Snapshots made from a snapshot: larger ones, and the next day's.

Belongs here: copying and altering rows of Synthea's files, for trials and measurements. Does not: anything of a run.
Knows the room `source` only.
"""
