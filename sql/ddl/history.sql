-- When rows were first seen and last changed; run with the state schema first in the search path, safe to run again.
-- Ids come from one ascending sequence: the run that first saw a row is the first whose last id is not below the row's.
CREATE TABLE IF NOT EXISTS row_id_range (
    generation bigint PRIMARY KEY,
    last_row_id bigint NOT NULL -- the last id given when the run was committed, to rows and to content
);

-- One row per row that a run changed, removed or saw return; none for new and unchanged ones.
CREATE TABLE IF NOT EXISTS row_event (
    source_table text NOT NULL,
    row_id bigint NOT NULL,
    generation bigint NOT NULL,
    event text NOT NULL, -- changed, removed, returned
    PRIMARY KEY (source_table, row_id, generation)
);
