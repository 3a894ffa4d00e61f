-- The look-ups of one run; the transforms join these and never the concept table.
-- Run with the run's schema first in the search path; safe to run again, and empties what is there.

-- one row per code in use, standard target and value; an unmapped code has one row, concept 0
CREATE UNLOGGED TABLE IF NOT EXISTS code_map (
    vocabulary_id text NOT NULL,
    code text NOT NULL,
    ordinal integer NOT NULL, -- from 1, by (concept_id, value_as_concept_id)
    target_table text, -- by the target's domain; NULL when unmapped
    concept_id integer NOT NULL,
    source_concept_id integer NOT NULL,
    value_as_concept_id integer,
    PRIMARY KEY (vocabulary_id, code, ordinal)
);

-- one row per unit in use; concept 0 when unknown
CREATE UNLOGGED TABLE IF NOT EXISTS unit_map (
    unit_source_value text PRIMARY KEY,
    unit_concept_id integer NOT NULL
);

-- one row per text value in use that names an answer; no row for any other text
CREATE UNLOGGED TABLE IF NOT EXISTS answer_map (
    value_text text NOT NULL,
    concept_id integer NOT NULL
);

-- one row per concept that the mapping names by id; concept 0 when the vocabulary lacks it
CREATE UNLOGGED TABLE IF NOT EXISTS fixed_concept (
    fixed_concept_id integer PRIMARY KEY,
    concept_id integer NOT NULL
);

-- other spellings of units, each list in its order; without a code: no unit
CREATE UNLOGGED TABLE IF NOT EXISTS unit_alias (
    place integer NOT NULL,
    unit_source_value text NOT NULL,
    ucum_code text,
    is_own boolean NOT NULL -- of the user's list, which stands before UCUM
);

-- A hash of the text: some values are longer than a b-tree entry may be.
CREATE INDEX IF NOT EXISTS answer_map_value_text ON answer_map USING hash (value_text);

TRUNCATE code_map, unit_map, answer_map, fixed_concept, unit_alias;
