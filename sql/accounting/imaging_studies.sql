-- Rows of imaging studies by their procedure and body site, or the row that stands for their study.
-- grain: one row per outcome
-- counts: imaging_studies
-- source: docs/mapping/procedure_occurrence.md; docs/mapping/observation.md (one row per instance: a study has many)
WITH instance AS (
    SELECT
        counted.patient,
        counted.encounter,
        counted.id,
        counted.procedure_code,
        counted.date::date AS study_date,
        concat_ws(
            ' + ',
            CASE WHEN procedure_occurrence.procedure_occurrence_id IS NOT NULL THEN 'procedure_occurrence' END,
            CASE WHEN observation.observation_id IS NOT NULL THEN 'observation' END
        ) AS cdm_tables
    FROM counted
    LEFT JOIN procedure_occurrence
        ON counted.row_id = procedure_occurrence.procedure_occurrence_id
    LEFT JOIN observation
        ON counted.row_id = observation.observation_id
),

-- the many instances of a study are alike
likeness AS (
    SELECT
        patient,
        encounter,
        id,
        procedure_code,
        study_date,
        cdm_tables,
        count(*) AS row_count
    FROM instance
    GROUP BY
        patient,
        encounter,
        id,
        procedure_code,
        study_date,
        cdm_tables
),

study AS (
    SELECT
        patient,
        encounter,
        id,
        procedure_code,
        study_date,
        cdm_tables,
        row_count,
        bool_or(cdm_tables <> '') OVER (PARTITION BY patient, encounter, id) AS has_study_row
    FROM likeness
),

-- the study's first row tells its code and day; the CDM's time zone may move a day by one
performed AS (
    SELECT DISTINCT
        study.patient,
        study.encounter,
        study.id
    FROM study
    INNER JOIN procedures
        ON
            study.patient = procedures.patient
            AND study.encounter = procedures.encounter
            AND study.procedure_code = procedures.code
            AND procedures.start::date BETWEEN study.study_date - 1 AND study.study_date + 1
    WHERE NOT study.has_study_row
)

SELECT
    CASE
        WHEN study.cdm_tables <> '' THEN study.cdm_tables
        WHEN study.has_study_row THEN 'row_of_same_study'
        WHEN performed.id IS NOT NULL THEN 'row_of_procedures'
        ELSE 'unexplained'
    END AS outcome,
    sum(study.row_count)::bigint AS row_count
FROM study
LEFT JOIN performed -- a study without an encounter has no procedure
    ON
        study.patient = performed.patient
        AND study.encounter = performed.encounter
        AND study.id = performed.id
GROUP BY outcome
