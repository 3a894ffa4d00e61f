"""Quality checks of the CDM: which there are, how they are counted, and what their counts mean.

Belongs here: the facts (which check applies to what, with which threshold), the SQL that is made from them, the checks that are SQL files.
Does not: when a run checks what (runs/checking.py), keeping results (store/check_ledger.py), showing them (telling/checks.py).
"""
