-- Persons and conditions whose eras do not hold each of the occurrences once.
-- grain: one row per person and condition concept
-- reads: condition_occurrence (person_id, condition_concept_id, condition_start_date)
-- reads: condition_era (person_id, condition_concept_id, condition_era_start_date, condition_occurrence_count)
-- scope: person
-- denominator: (SELECT DISTINCT person_id, condition_concept_id FROM condition_occurrence WHERE condition_concept_id <> 0) AS ill
-- severity: fail
-- source: docs/mapping/condition_era.md
WITH occurrence AS (
    SELECT
        person_id,
        condition_concept_id,
        count(*) AS occurrences,
        min(condition_start_date) AS start_date
    FROM condition_occurrence
    WHERE condition_concept_id <> 0
    GROUP BY
        person_id,
        condition_concept_id
),

era AS (
    SELECT
        person_id,
        condition_concept_id,
        sum(condition_occurrence_count) AS occurrences,
        min(condition_era_start_date) AS start_date
    FROM condition_era
    GROUP BY
        person_id,
        condition_concept_id
)

SELECT coalesce(occurrence.person_id, era.person_id) AS person_id
FROM occurrence
FULL JOIN era
    ON
        occurrence.person_id = era.person_id
        AND occurrence.condition_concept_id = era.condition_concept_id
WHERE
    occurrence.occurrences IS DISTINCT FROM era.occurrences
    OR occurrence.start_date IS DISTINCT FROM era.start_date
