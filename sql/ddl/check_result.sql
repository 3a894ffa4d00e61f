-- What the checks counted; run with the ledger's schema first in the search path, safe to run again.
-- A run writes the checks whose counts, status or meaning changed; check_current has the last row of each.
CREATE TABLE IF NOT EXISTS check_result (
    check_id text NOT NULL,
    generation bigint NOT NULL, -- of the run
    run_id text NOT NULL,
    fingerprint text NOT NULL, -- what the check meant
    severity text NOT NULL, -- fail, warn
    threshold double precision NOT NULL, -- percent
    violated bigint NOT NULL,
    denominator bigint NOT NULL,
    status text NOT NULL, -- passed, failed, not_applicable
    samples bigint[] NOT NULL, -- ids of rows that violate it, a few
    as_of date NOT NULL, -- the day against which the future was told
    PRIMARY KEY (check_id, generation)
);

CREATE OR REPLACE VIEW check_current AS
SELECT DISTINCT ON (check_id)
    check_id,
    generation,
    run_id,
    fingerprint,
    severity,
    threshold,
    violated,
    denominator,
    status,
    samples,
    as_of
FROM check_result
ORDER BY
    check_id ASC,
    generation DESC;

-- How many rows have a source value, and how many of them no concept; the value itself is not kept.
CREATE TABLE IF NOT EXISTS check_value (
    check_id text NOT NULL,
    value_key uuid NOT NULL,
    rows bigint NOT NULL,
    unmapped bigint NOT NULL,
    PRIMARY KEY (check_id, value_key)
);
