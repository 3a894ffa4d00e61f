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

-- One probe of the key for each check and its last row, however many runs are kept.
CREATE OR REPLACE VIEW check_current AS
WITH RECURSIVE known AS (
    (
        SELECT check_id
        FROM check_result
        ORDER BY check_id
        LIMIT 1
    )
    UNION ALL
    SELECT
        (
            SELECT following.check_id
            FROM check_result AS following
            WHERE following.check_id > known.check_id
            ORDER BY following.check_id
            LIMIT 1
        ) AS check_id
    FROM known
    WHERE known.check_id IS NOT NULL
)

SELECT
    latest.check_id,
    latest.generation,
    latest.run_id,
    latest.fingerprint,
    latest.severity,
    latest.threshold,
    latest.violated,
    latest.denominator,
    latest.status,
    latest.samples,
    latest.as_of
FROM known
CROSS JOIN LATERAL (
    SELECT
        result.check_id,
        result.generation,
        result.run_id,
        result.fingerprint,
        result.severity,
        result.threshold,
        result.violated,
        result.denominator,
        result.status,
        result.samples,
        result.as_of
    FROM check_result AS result
    WHERE result.check_id = known.check_id
    ORDER BY result.generation DESC
    LIMIT 1
) AS latest;

-- How many rows have a source value, and how many of them no concept; the value itself is not kept.
CREATE TABLE IF NOT EXISTS check_value (
    check_id text NOT NULL,
    value_key uuid NOT NULL,
    rows bigint NOT NULL,
    unmapped bigint NOT NULL,
    PRIMARY KEY (check_id, value_key)
);
