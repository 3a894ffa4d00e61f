-- The state of one CDM: what the last committed run saw, and every id it gave.
-- Run with the state schema first in the search path; safe to run again.
CREATE SEQUENCE IF NOT EXISTS row_id_seq AS bigint MAXVALUE 9007199254740991; -- 2^53 - 1: R and JavaScript read ids as doubles

CREATE TABLE IF NOT EXISTS store_info (
    key text PRIMARY KEY,
    value text NOT NULL
);

-- One row per source table that was read.
CREATE TABLE IF NOT EXISTS source_state (
    source_table text PRIMARY KEY,
    file_digest bytea,
    rows bigint NOT NULL,
    hash_sum bytea NOT NULL, -- sum of the 128-bit row hashes modulo 2^128, big-endian
    loaded bigint NOT NULL,  -- rows of the staged image, identical copies of one Id included
    quarantined bigint NOT NULL,
    pending bigint NOT NULL
);

-- The sorted 64-bit row hashes, packed: base segments (sign 0), then what each run added (1) and removed (-1).
CREATE TABLE IF NOT EXISTS hash_segment (
    source_table text NOT NULL,
    generation bigint NOT NULL,
    sign smallint NOT NULL,
    part integer NOT NULL,
    packed bytea NOT NULL, -- uint64, little-endian, ascending
    PRIMARY KEY (source_table, generation, sign, part)
);
ALTER TABLE hash_segment ALTER COLUMN packed SET STORAGE EXTERNAL; -- hashes do not compress

CREATE TABLE IF NOT EXISTS content_id (
    id_key uuid PRIMARY KEY,
    id bigint NOT NULL
);

-- A removed row: its return is seen and it gets its id back.
CREATE TABLE IF NOT EXISTS tombstone (
    source_table text NOT NULL,
    row_id bigint NOT NULL,
    row_hash uuid NOT NULL,
    key_hash uuid,
    PRIMARY KEY (source_table, row_id)
);
CREATE INDEX IF NOT EXISTS tombstone_row_hash ON tombstone (source_table, row_hash);
CREATE INDEX IF NOT EXISTS tombstone_key_hash ON tombstone (source_table, key_hash);

-- The last run's look-ups, so that an increment resolves new codes only.
CREATE TABLE IF NOT EXISTS known_code (
    vocabulary_id text NOT NULL,
    code text NOT NULL,
    PRIMARY KEY (vocabulary_id, code)
);
CREATE TABLE IF NOT EXISTS known_unit (unit_source_value text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS known_answer (value_text text PRIMARY KEY);

-- The person of each row of the two CDM tables that have no person column.
CREATE TABLE IF NOT EXISTS cost_person (
    person_id bigint NOT NULL,
    cost_id bigint PRIMARY KEY
);
CREATE INDEX IF NOT EXISTS cost_person_person ON cost_person (person_id);
CREATE TABLE IF NOT EXISTS fact_relationship_person (
    person_id bigint NOT NULL,
    domain_concept_id_1 integer NOT NULL,
    fact_id_1 bigint NOT NULL,
    domain_concept_id_2 integer NOT NULL,
    fact_id_2 bigint NOT NULL,
    relationship_concept_id integer NOT NULL
);
CREATE INDEX IF NOT EXISTS fact_relationship_person_person ON fact_relationship_person (person_id);

-- A key made of content, NULL-safe and unambiguous: an array's text quotes each part and tells NULL from 'NULL'.
CREATE OR REPLACE FUNCTION content_key(VARIADIC parts text[]) RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT md5(parts::text)::uuid $$;
