"""The flows: orchestration only, and the only place that imports Prefect.

    incremental.py   apply a snapshot: only what differs is loaded and transformed
    full_reload.py   rebuild the CDM beside from a whole snapshot, then exchange it
    verify.py        prove that the CDM equals a rebuild
    vocabulary.py    load or upgrade a vocabulary from Athena's files
    check.py         the quality checks of the whole CDM
    tasks.py         the steps of a run as Prefect's tasks
    running.py       what the flows share: parameters, final states, artifacts
    terminal.py      the command line of `python -m flows.<name>`
    environment.py   Prefect's own settings for `python -m flows.<name>`

Belongs here: wiring. Does not: anything that knows a table, a file or a statement (omop_inc/).
"""

from flows import environment

# Prefect reads its settings while it is imported, so this is the one import with an effect.
environment.prepare()
