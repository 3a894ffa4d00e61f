-- Resolve every code in use to its standard concepts.
-- grain: one row per (vocabulary_id, code), standard target and value
-- reads: code_in_use (vocabulary_id, code), concept, concept_relationship, source_to_concept_map
-- writes: code_map
-- parameters: release_date, the vocabulary's; a user's row that ended before it is no longer in force
-- source: OHDSI convention for 'Maps to' and 'Maps to value'; the user's own list comes first
INSERT INTO code_map (
    vocabulary_id,
    code,
    ordinal,
    target_table,
    concept_id,
    source_concept_id,
    value_as_concept_id
)
WITH code AS (
    SELECT DISTINCT
        vocabulary_id,
        code
    FROM code_in_use
    WHERE
        vocabulary_id IS NOT NULL
        AND code IS NOT NULL
),

-- A code that several concepts carry is the valid one, then the standard one, then the oldest.
own_concept AS (
    SELECT DISTINCT ON (code.vocabulary_id, code.code)
        code.vocabulary_id,
        code.code,
        concept.concept_id,
        concept.domain_id,
        coalesce(concept.standard_concept = 'S' AND concept.invalid_reason IS NULL, FALSE) AS is_standard
    FROM code
    INNER JOIN concept
        ON
            code.vocabulary_id = concept.vocabulary_id
            AND code.code = concept.concept_code
    ORDER BY
        code.vocabulary_id ASC,
        code.code ASC,
        (concept.invalid_reason IS NULL) DESC,
        coalesce(concept.standard_concept = 'S', FALSE) DESC,
        concept.concept_id ASC
),

-- The user's own list: a row counts if it is in force and its target is standard, or is 0 (left unmapped on purpose).
user_row AS (
    SELECT
        code.vocabulary_id,
        code.code,
        own_row.target_concept_id,
        own_row.source_concept_id,
        target.domain_id
    FROM code
    INNER JOIN source_to_concept_map AS own_row
        ON
            code.code = own_row.source_code
            AND own_row.source_vocabulary_id IN (code.vocabulary_id, 'Synthea')
    LEFT OUTER JOIN concept AS target
        ON
            own_row.target_concept_id = target.concept_id
            AND target.standard_concept = 'S'
            AND target.invalid_reason IS NULL
    WHERE
        own_row.invalid_reason IS NULL
        AND own_row.valid_end_date >= coalesce(%(release_date)s::date, '-infinity'::date) -- noqa: RF02, a parameter
        AND (own_row.target_concept_id = 0 OR target.concept_id IS NOT NULL)
),

user_code AS (
    SELECT
        vocabulary_id,
        code,
        min(source_concept_id) FILTER (WHERE source_concept_id <> 0) AS source_concept_id
    FROM user_row
    GROUP BY
        vocabulary_id,
        code
),

vocabulary_code AS (
    SELECT own_concept.*
    FROM own_concept
    LEFT OUTER JOIN user_code
        ON
            own_concept.vocabulary_id = user_code.vocabulary_id
            AND own_concept.code = user_code.code
    WHERE user_code.code IS NULL
),

related AS (
    SELECT
        vocabulary_code.vocabulary_id,
        vocabulary_code.code,
        vocabulary_code.concept_id AS own_concept_id,
        relationship.relationship_id,
        target.concept_id,
        target.domain_id
    FROM vocabulary_code
    INNER JOIN concept_relationship AS relationship
        ON
            vocabulary_code.concept_id = relationship.concept_id_1
            AND relationship.relationship_id IN ('Maps to', 'Maps to value')
            AND relationship.invalid_reason IS NULL
    INNER JOIN concept AS target
        ON
            relationship.concept_id_2 = target.concept_id
            AND target.standard_concept = 'S'
            AND target.invalid_reason IS NULL
),

-- A standard concept maps to itself where the vocabulary has no row that says so.
target AS (
    SELECT
        vocabulary_id,
        code,
        concept_id,
        domain_id
    FROM related
    WHERE relationship_id = 'Maps to'
    UNION
    SELECT
        vocabulary_id,
        code,
        concept_id,
        domain_id
    FROM vocabulary_code
    WHERE
        is_standard
        -- NOT IN is one hash; the planner takes an anti-join for nested loops here (81 of 107 ms for 1,095 codes)
        AND concept_id NOT IN (
            SELECT related.own_concept_id
            FROM related
            WHERE related.relationship_id = 'Maps to'
        )
    UNION
    SELECT
        vocabulary_id,
        code,
        target_concept_id,
        domain_id
    FROM user_row
    WHERE target_concept_id <> 0
),

routed AS (
    SELECT
        vocabulary_id,
        code,
        concept_id,
        CASE domain_id
            WHEN 'Condition' THEN 'condition_occurrence'
            WHEN 'Drug' THEN 'drug_exposure'
            WHEN 'Procedure' THEN 'procedure_occurrence'
            WHEN 'Measurement' THEN 'measurement'
            WHEN 'Device' THEN 'device_exposure'
            WHEN 'Specimen' THEN 'specimen'
            ELSE 'observation'
        END AS target_table
    FROM target
),

-- Only measurement and observation have a field for the value.
valued AS (
    SELECT DISTINCT
        routed.vocabulary_id,
        routed.code,
        routed.concept_id,
        routed.target_table,
        related.concept_id AS value_as_concept_id
    FROM routed
    LEFT OUTER JOIN related
        ON
            routed.vocabulary_id = related.vocabulary_id
            AND routed.code = related.code
            AND related.relationship_id = 'Maps to value'
            AND routed.target_table IN ('measurement', 'observation')
)

SELECT
    code.vocabulary_id,
    code.code,
    row_number() OVER (
        PARTITION BY code.vocabulary_id, code.code
        ORDER BY valued.concept_id, valued.value_as_concept_id NULLS FIRST
    ) AS ordinal,
    valued.target_table,
    coalesce(valued.concept_id, 0) AS concept_id,
    coalesce(user_code.source_concept_id, own_concept.concept_id, 0) AS source_concept_id,
    valued.value_as_concept_id
FROM code
LEFT OUTER JOIN valued
    ON
        code.vocabulary_id = valued.vocabulary_id
        AND code.code = valued.code
LEFT OUTER JOIN own_concept
    ON
        code.vocabulary_id = own_concept.vocabulary_id
        AND code.code = own_concept.code
LEFT OUTER JOIN user_code
    ON
        code.vocabulary_id = user_code.vocabulary_id
        AND code.code = user_code.code;
