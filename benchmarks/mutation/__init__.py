"""Do the tests bite? Small wrong changes of the SQL and of the change data capture, each of which some test must notice.

In the order of use:
    targets      the files that are changed, and the tests that concern each
    mutants      one change of one file
    sql_tokens   SQL in pieces, each with its place in the text
    sql_operators, sql_clauses, python_operators   the kinds of change
    sampling     a choice of them by seed, spread over files and kinds
    scratch      a copy of the project in which pytest tries each
    nursery      the process that forks a child for each run of pytest
    equivalents  changes that are none, each with its reason
    results      what became of each, kept in a file; the page docs/mutation.md

`python -m benchmarks.mutation --help`. Nothing in the checkout is ever changed.
"""
