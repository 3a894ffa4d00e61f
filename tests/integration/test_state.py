"""What the store keeps of a source table reads back as it was written."""

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest

from omop_inc.store import state
from omop_inc.store.schemas import Schemas
from omop_inc.store.state import TableState

SCHEMAS = Schemas(cdm="cdm", vocabulary="vocab")


@pytest.fixture
def store(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database) as connection:
        state.create(connection, SCHEMAS)
        yield connection


def hashes(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


def signs(store: psycopg.Connection, table: str) -> list[int]:
    query = "SELECT sign FROM cdm_state.hash_segment WHERE source_table = %s ORDER BY sign, part"
    return [sign for (sign,) in store.execute(query, (table,))]


def test_store_that_is_there_is_made_again_without_harm(store: psycopg.Connection) -> None:
    state.write_table_state(store, SCHEMAS, "patients", TableState(rows=3))
    for schema in ("cdm_staging", "cdm_quarantine"):
        store.execute(f"INSERT INTO {schema}.patients (row_id, row_hash) VALUES (1, gen_random_uuid())")
    state.create(store, SCHEMAS)
    assert state.exists(store, SCHEMAS)
    for schema in ("cdm_staging", "cdm_quarantine"):
        assert store.execute(f"SELECT row_id FROM {schema}.patients").fetchall() == [(1,)]
    assert state.read_table_states(store, SCHEMAS)["patients"].rows == 3


def test_state_of_a_table_reads_back_as_written(store: psycopg.Connection) -> None:
    whole = TableState(file_digest=b"\x01\xff", rows=5, hash_sum=(1 << 128) - 2, loaded=4, quarantined=3, pending=2)
    state.write_table_state(store, SCHEMAS, "patients", TableState(rows=9))
    state.write_table_state(store, SCHEMAS, "patients", whole)
    state.write_table_state(store, SCHEMAS, "claims", TableState())
    assert state.read_table_states(store, SCHEMAS) == {"patients": whole, "claims": TableState()}


def test_hashes_of_several_segments_read_back_in_their_order(store: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "SEGMENT_ROWS", 2)
    state.write_base(store, SCHEMAS, "claims", 1, hashes(8, 9))
    state.write_base(store, SCHEMAS, "patients", 1, hashes(7))
    state.write_base(store, SCHEMAS, "patients", 1, hashes(1, 2, 3, 4, 5))
    store.execute("UPDATE cdm_state.hash_segment SET packed = packed WHERE part = 0")  # now behind the others in the table
    assert signs(store, "patients") == [0, 0, 0]
    for way in ("indexscan", "bitmapscan"):  # along the key, which has their order already
        store.execute(f"SET enable_{way} TO off")
    assert state.read_hashes(store, SCHEMAS, "patients").tolist() == [1, 2, 3, 4, 5]
    assert state.read_hashes(store, SCHEMAS, "claims").tolist() == [8, 9]


def test_small_deltas_stand_beside_the_base_and_are_folded_when_they_have_grown(store: psycopg.Connection) -> None:
    state.write_base(store, SCHEMAS, "patients", 1, hashes(*range(20)))
    state.write_delta(store, SCHEMAS, "patients", 2, hashes(3), hashes(7))
    assert signs(store, "patients") == [-1, 0, 1]
    expected = sorted([*range(20), 3])
    expected.remove(7)
    assert state.read_hashes(store, SCHEMAS, "patients").tolist() == expected
    state.write_delta(store, SCHEMAS, "patients", 3, hashes(40), hashes())
    assert signs(store, "patients") == [0]
    assert state.read_hashes(store, SCHEMAS, "patients").tolist() == [*expected, 40]


def test_hashes_are_read_range_by_range(store: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of one hash are in one range, though segments part them, and deltas are in the range that they belong to."""
    monkeypatch.setattr(state, "SEGMENT_ROWS", 2)
    monkeypatch.setattr(state, "FOLD_SHARE", 9)
    last = (1 << 64) - 1
    state.write_base(store, SCHEMAS, "patients", 1, hashes(3, 5, 5, 5, 5, 8, 9, last))
    state.write_delta(store, SCHEMAS, "patients", 2, hashes(1, 6, 9, last), hashes(5, 8))
    found = list(state.read_ranges(store, SCHEMAS, "patients"))
    assert [(one.start, one.stop, one.known.tolist()) for one in found] == [(0, 5, [1, 3]), (5, 9, [5, 5, 5, 6]), (9, None, [9, 9, last, last])]
    (none,) = state.read_ranges(store, SCHEMAS, "claims")
    assert (none.start, none.stop, none.known.tolist()) == (0, None, [])


def test_many_small_deltas_are_folded_whatever_their_size(store: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "FOLD_SEGMENTS", 2)
    state.write_base(store, SCHEMAS, "patients", 1, hashes(*range(100)))
    for generation, value in enumerate((200, 201), 2):
        state.write_delta(store, SCHEMAS, "patients", generation, hashes(value), hashes())
    assert signs(store, "patients") == [0, 1, 1]
    state.write_delta(store, SCHEMAS, "patients", 4, hashes(202), hashes())
    assert signs(store, "patients") == [0]
    assert state.read_hashes(store, SCHEMAS, "patients").tolist() == [*range(100), 200, 201, 202]
