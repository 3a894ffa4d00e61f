-- Spans of time in which a person is taken to be exposed to an ingredient: exposures at most 30 days apart are one era.
-- grain: one row per person, ingredient and era
-- reads: drug_exposure (person_id, drug_concept_id, drug_exposure_start_date, drug_exposure_end_date)
-- writes: drug_era
-- source: CDM 5.4 specification, DRUG_ERA; OHDSI convention of 30 days' persistence; docs/mapping/drug_era.md
CREATE TEMP TABLE era ON COMMIT DROP AS
WITH drug AS (
    SELECT DISTINCT drug_concept_id
    FROM drug_exposure
    WHERE drug_concept_id <> 0
),

drug_ingredient AS (
    SELECT DISTINCT
        drug.drug_concept_id,
        concept.concept_id AS ingredient_concept_id
    FROM drug
    INNER JOIN concept_ancestor
        ON drug.drug_concept_id = concept_ancestor.descendant_concept_id
    INNER JOIN concept
        ON
            concept_ancestor.ancestor_concept_id = concept.concept_id
            AND concept.vocabulary_id = 'RxNorm'
            AND concept.concept_class_id = 'Ingredient'
            AND concept.standard_concept = 'S'
            AND concept.invalid_reason IS NULL
),

exposure AS (
    SELECT
        drug_exposure.person_id,
        drug_ingredient.ingredient_concept_id AS concept_id,
        drug_exposure.drug_exposure_start_date AS start_date,
        greatest(drug_exposure.drug_exposure_start_date, drug_exposure.drug_exposure_end_date) AS end_date
    FROM drug_exposure
    INNER JOIN drug_ingredient
        ON drug_exposure.drug_concept_id = drug_ingredient.drug_concept_id
),

exposure_sequence AS (
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
    FROM exposure
),

numbered AS (
    SELECT
        person_id,
        concept_id,
        start_date,
        end_date,
        covered_until,
        count(*) FILTER (WHERE covered_until IS NULL OR start_date > covered_until + 30) OVER (
            PARTITION BY person_id, concept_id
            ORDER BY start_date, end_date
            ROWS UNBOUNDED PRECEDING
        ) AS era_number
    FROM exposure_sequence
),

span AS (
    SELECT
        person_id,
        concept_id,
        min(start_date) AS start_date,
        max(end_date) AS end_date,
        count(*) AS exposure_count,
        -- whole days without the drug; the wait before the era itself is longer than 30 days and not part of it
        coalesce(
            sum(start_date - covered_until - 1) FILTER (
                WHERE start_date BETWEEN covered_until + 2 AND covered_until + 30
            ),
            0
        ) AS gap_days
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
    exposure_count,
    gap_days,
    content_key('drug_era', person_id::text, concept_id::text, start_date::text) AS id_key
FROM span;

INSERT INTO new_content_id (id_key)
SELECT era.id_key
FROM era
WHERE NOT EXISTS (
    SELECT
    FROM content_id
    WHERE content_id.id_key = era.id_key
);

INSERT INTO drug_era (
    drug_era_id,
    person_id,
    drug_concept_id,
    drug_era_start_date,
    drug_era_end_date,
    drug_exposure_count,
    gap_days
)
SELECT
    content_id.id AS drug_era_id,
    era.person_id,
    era.concept_id AS drug_concept_id,
    era.start_date AS drug_era_start_date,
    era.end_date AS drug_era_end_date,
    era.exposure_count AS drug_exposure_count,
    era.gap_days
FROM era
INNER JOIN content_id
    ON era.id_key = content_id.id_key;
