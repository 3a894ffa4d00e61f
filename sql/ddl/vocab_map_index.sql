-- Keys and statistics of a run's look-ups, for after they are filled.
-- Run with the run's schema first in the search path.
ALTER TABLE code_map ADD PRIMARY KEY (vocabulary_id, code, ordinal);
ALTER TABLE unit_map ADD PRIMARY KEY (unit_source_value);
ALTER TABLE fixed_concept ADD PRIMARY KEY (fixed_concept_id);
-- A hash of the text: some values are longer than a b-tree entry may be.
CREATE INDEX answer_map_value_text ON answer_map USING hash (value_text);
ANALYZE code_map;
ANALYZE unit_map;
ANALYZE answer_map;
ANALYZE fixed_concept;
