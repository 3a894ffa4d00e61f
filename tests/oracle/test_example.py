"""The shipped example, snapshot after snapshot: what the increments make of it is what the oracle derives from the last one."""

from tests.oracle.cdm import derive
from tests.oracle.concepts import Vocabulary
from tests.oracle.database import derived_lines, disagreements, read_cdm
from tests.stores import EXAMPLES, Cdm

DATES = ("2020-06-17", "2020-07-01", "2020-07-29")


def test_the_example_is_as_the_oracle_says_after_each_snapshot(cdm: Cdm, vocabulary: Vocabulary) -> None:
    for date in DATES:
        folder = EXAMPLES / "snapshots" / date
        assert cdm.run(folder).status == "applied"
        found = disagreements(derived_lines(derive(folder, vocabulary)), read_cdm(cdm.url, cdm.schema))
        assert not found, "\n".join(found)
