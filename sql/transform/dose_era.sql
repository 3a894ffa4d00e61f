-- Spans of time in which a person is taken to be exposed to a constant dose of an ingredient; empty without drug strengths.
-- grain: one row per person, ingredient, unit, dose and era
-- reads: drug_exposure (person_id, drug_concept_id, drug_exposure_start_date, drug_exposure_end_date)
-- writes: dose_era
-- source: CDM 5.4 specification, DOSE_ERA; OHDSI convention of 30 days' persistence; docs/mapping/dose_era.md
CREATE TEMP TABLE era ON COMMIT DROP AS
WITH drug AS (
    SELECT DISTINCT drug_concept_id
    FROM drug_exposure
    WHERE drug_concept_id <> 0
),

drug_dose AS (
    SELECT DISTINCT
        drug.drug_concept_id,
        drug_strength.ingredient_concept_id,
        coalesce(drug_strength.amount_value, drug_strength.numerator_value)::numeric AS dose_value,
        coalesce(
            CASE
                WHEN drug_strength.amount_value IS NOT NULL THEN drug_strength.amount_unit_concept_id
                ELSE drug_strength.numerator_unit_concept_id
            END,
            0
        ) AS unit_concept_id
    FROM drug
    INNER JOIN drug_strength
        ON
            drug.drug_concept_id = drug_strength.drug_concept_id
            AND drug_strength.invalid_reason IS NULL
            AND coalesce(drug_strength.amount_value, drug_strength.numerator_value) IS NOT NULL
),

exposure AS (
    SELECT
        drug_exposure.person_id,
        drug_dose.ingredient_concept_id,
        drug_dose.unit_concept_id,
        drug_dose.dose_value,
        drug_exposure.drug_exposure_start_date AS start_date,
        greatest(drug_exposure.drug_exposure_start_date, drug_exposure.drug_exposure_end_date) AS end_date
    FROM drug_exposure
    INNER JOIN drug_dose
        ON drug_exposure.drug_concept_id = drug_dose.drug_concept_id
),

exposure_sequence AS (
    SELECT
        person_id,
        ingredient_concept_id,
        unit_concept_id,
        dose_value,
        start_date,
        end_date,
        max(end_date) OVER (
            PARTITION BY person_id, ingredient_concept_id, unit_concept_id, dose_value
            ORDER BY start_date, end_date
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS covered_until
    FROM exposure
),

numbered AS (
    SELECT
        person_id,
        ingredient_concept_id,
        unit_concept_id,
        dose_value,
        start_date,
        end_date,
        count(*) FILTER (WHERE covered_until IS NULL OR start_date > covered_until + 30) OVER (
            PARTITION BY person_id, ingredient_concept_id, unit_concept_id, dose_value
            ORDER BY start_date, end_date
            ROWS UNBOUNDED PRECEDING
        ) AS era_number
    FROM exposure_sequence
),

span AS (
    SELECT
        person_id,
        ingredient_concept_id,
        unit_concept_id,
        dose_value,
        min(start_date) AS start_date,
        max(end_date) AS end_date
    FROM numbered
    GROUP BY
        person_id,
        ingredient_concept_id,
        unit_concept_id,
        dose_value,
        era_number
)

SELECT
    person_id,
    ingredient_concept_id,
    unit_concept_id,
    dose_value,
    start_date,
    end_date,
    content_key(
        'dose_era',
        person_id::text,
        ingredient_concept_id::text,
        unit_concept_id::text,
        trim_scale(dose_value)::text,
        start_date::text
    ) AS id_key
FROM span;

INSERT INTO new_content_id (id_key)
SELECT era.id_key
FROM era
WHERE NOT EXISTS (
    SELECT
    FROM content_id
    WHERE content_id.id_key = era.id_key
);

INSERT INTO dose_era (
    dose_era_id,
    person_id,
    drug_concept_id,
    unit_concept_id,
    dose_value,
    dose_era_start_date,
    dose_era_end_date
)
SELECT
    content_id.id AS dose_era_id,
    era.person_id,
    era.ingredient_concept_id AS drug_concept_id,
    era.unit_concept_id,
    era.dose_value,
    era.start_date AS dose_era_start_date,
    era.end_date AS dose_era_end_date
FROM era
INNER JOIN content_id
    ON era.id_key = content_id.id_key;
