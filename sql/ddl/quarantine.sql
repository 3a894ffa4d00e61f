-- Records that could not be read as rows of their table; run with the quarantine schema first in the search path.
CREATE TABLE IF NOT EXISTS bad_record (
    record_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_table text NOT NULL,
    row_hash uuid NOT NULL,
    line bigint NOT NULL,      -- physical line of the file in which the run first saw it; the header is line 1
    column_name text,
    rule text NOT NULL,
    run_id text NOT NULL,
    record bytea NOT NULL
);
CREATE INDEX IF NOT EXISTS bad_record_row_hash ON bad_record (source_table, row_hash);
