-- What we keep beside the vocabulary tables in their schema: what was loaded, and what was resolved from it.
-- Run with the vocabulary schema first in the search path; safe to run again.
CREATE TABLE IF NOT EXISTS omop_inc_vocabulary (
    fingerprint text PRIMARY KEY, -- digest of the files' content
    version text, -- as the vocabulary names itself: VOCABULARY, row 'None'
    release_date date, -- the date in that version; NULL when it holds none
    loaded_at timestamptz NOT NULL,
    files jsonb NOT NULL -- per table: rows, and the file's name, size and time stamp
);

-- The digest of every code map that this database resolved: a cached copy counts only if it has the same.
CREATE TABLE IF NOT EXISTS code_map_digest (
    cache_key text PRIMARY KEY,
    content_digest text NOT NULL,
    used_at timestamptz NOT NULL
);
