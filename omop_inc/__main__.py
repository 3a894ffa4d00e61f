"""`python -m omop_inc` is `omop-inc`."""

from omop_inc.cli import main

main()
