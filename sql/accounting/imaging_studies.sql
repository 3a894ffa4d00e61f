-- Rows of imaging studies by their procedure and body site, or the row that stands for their study.
-- grain: one row per outcome
-- counts: imaging_studies
-- source: docs/mapping/procedure_occurrence.md; docs/mapping/observation.md (one row per instance: a study has many)
WITH instance AS (
    SELECT
        counted.patient,
        counted.encounter,
        counted.procedure_code,
        counted.date,
        concat_ws(
            ' + ',
            CASE WHEN procedure_occurrence.procedure_occurrence_id IS NOT NULL THEN 'procedure_occurrence' END,
            CASE WHEN observation.observation_id IS NOT NULL THEN 'observation' END
        ) AS cdm_tables,
        bool_or(
            procedure_occurrence.procedure_occurrence_id IS NOT NULL
            OR observation.observation_id IS NOT NULL
        ) OVER (PARTITION BY counted.patient, counted.encounter, counted.id) AS has_study_row
    FROM counted
    LEFT JOIN procedure_occurrence
        ON counted.row_id = procedure_occurrence.procedure_occurrence_id
    LEFT JOIN observation
        ON counted.row_id = observation.observation_id
)

SELECT
    CASE
        WHEN cdm_tables <> '' THEN cdm_tables
        WHEN has_study_row THEN 'row_of_same_study'
        WHEN
            EXISTS (
                SELECT
                FROM procedures
                WHERE
                    procedures.patient = instance.patient
                    AND procedures.encounter = instance.encounter
                    AND procedures.code = instance.procedure_code
                    AND procedures.start::date = instance.date::date
            )
            THEN 'row_of_procedures'
        ELSE 'unexplained'
    END AS outcome,
    count(*) AS row_count
FROM instance
GROUP BY outcome
