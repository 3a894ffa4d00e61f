-- The versions that decide what the CDM holds.
-- grain: one row per named fact
-- writes: metadata
-- source: CDM 5.4 specification, METADATA; docs/mapping/metadata.md
WITH fact (metadata_id, name, value_as_string, value_as_number) AS (
    SELECT
        1,
        'omop_inc tool version',
        tool_version,
        NULL::numeric
    FROM run_parameter
    UNION ALL
    SELECT
        2,
        'omop_inc hash version',
        hash_version::text,
        hash_version
    FROM run_parameter
    UNION ALL
    SELECT
        3,
        'omop_inc vocabulary fingerprint',
        vocabulary_fingerprint,
        NULL
    FROM run_parameter
    UNION ALL
    SELECT
        4,
        'omop_inc time zone',
        time_zone,
        NULL
    FROM run_parameter
)

INSERT INTO metadata (
    metadata_id,
    metadata_concept_id,
    metadata_type_concept_id,
    name,
    value_as_string,
    value_as_concept_id,
    value_as_number
)
SELECT
    metadata_id,
    0 AS metadata_concept_id,
    (
        SELECT fixed_concept.concept_id FROM fixed_concept
        WHERE fixed_concept.fixed_concept_id = 32880 -- Standard algorithm
    ) AS metadata_type_concept_id,
    name,
    left(value_as_string, 250) AS value_as_string,
    0 AS value_as_concept_id,
    value_as_number
FROM fact;
