-- Spans of time in which a person is taken to have a condition: occurrences at most 30 days apart are one era.
-- grain: one row per person, condition concept and era
-- reads: condition_occurrence (person_id, condition_concept_id, condition_start_date, condition_end_date)
-- writes: condition_era
-- source: CDM 5.4 specification, CONDITION_ERA; OHDSI convention of 30 days' persistence; docs/mapping/condition_era.md
CREATE TEMP TABLE era ON COMMIT DROP AS
WITH occurrence AS (
    -- OHDSI convention: an occurrence without an end lasts until the next day
    SELECT
        person_id,
        condition_concept_id AS concept_id,
        condition_start_date AS start_date,
        greatest(condition_start_date, coalesce(condition_end_date, condition_start_date + 1)) AS end_date
    FROM condition_occurrence
    WHERE condition_concept_id <> 0
),

occurrence_sequence AS (
    SELECT
        person_id,
        concept_id,
        start_date,
        end_date,
        max(end_date) OVER (
            PARTITION BY person_id, concept_id
            ORDER BY start_date, end_date
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS covered_until
    FROM occurrence
),

numbered AS (
    SELECT
        person_id,
        concept_id,
        start_date,
        end_date,
        count(*) FILTER (WHERE covered_until IS NULL OR start_date > covered_until + 30) OVER (
            PARTITION BY person_id, concept_id
            ORDER BY start_date, end_date
            ROWS UNBOUNDED PRECEDING
        ) AS era_number
    FROM occurrence_sequence
),

span AS (
    SELECT
        person_id,
        concept_id,
        min(start_date) AS start_date,
        max(end_date) AS end_date,
        count(*) AS occurrence_count
    FROM numbered
    GROUP BY
        person_id,
        concept_id,
        era_number
)

SELECT
    person_id,
    concept_id,
    start_date,
    end_date,
    occurrence_count,
    content_key('condition_era', person_id::text, concept_id::text, start_date::text) AS id_key
FROM span;

INSERT INTO new_content_id (id_key)
SELECT era.id_key
FROM era
WHERE NOT EXISTS (
    SELECT
    FROM content_id
    WHERE content_id.id_key = era.id_key
);

INSERT INTO condition_era (
    condition_era_id,
    person_id,
    condition_concept_id,
    condition_era_start_date,
    condition_era_end_date,
    condition_occurrence_count
)
SELECT
    content_id.id AS condition_era_id,
    era.person_id,
    era.concept_id AS condition_concept_id,
    era.start_date AS condition_era_start_date,
    era.end_date AS condition_era_end_date,
    era.occurrence_count AS condition_occurrence_count
FROM era
INNER JOIN content_id
    ON era.id_key = content_id.id_key;
