-- Rows of imaging studies by their procedure and body site, or the row that stands for their study.
-- grain: one row per outcome
-- counts: imaging_studies
-- source: docs/mapping/procedure_occurrence.md; docs/mapping/observation.md (one row per instance: a study has many)
WITH instance AS (
    SELECT
        concat_ws(
            ' + ',
            CASE WHEN procedure_occurrence.procedure_occurrence_id IS NOT NULL THEN 'procedure_occurrence' END,
            CASE WHEN observation.observation_id IS NOT NULL THEN 'observation' END
        ) AS cdm_tables,
        bool_or(
            procedure_occurrence.procedure_occurrence_id IS NOT NULL
            OR observation.observation_id IS NOT NULL
        ) OVER (PARTITION BY counted.patient, counted.encounter, counted.id) AS has_study_row,
        -- the study's first row tells its code and day; the CDM's time zone may move a day by one
        bool_or(
            EXISTS (
                SELECT
                FROM procedures
                WHERE
                    procedures.patient = counted.patient
                    AND procedures.encounter = counted.encounter
                    AND procedures.code = counted.procedure_code
                    AND procedures.start::date BETWEEN counted.date::date - 1 AND counted.date::date + 1
            )
        ) OVER (PARTITION BY counted.patient, counted.encounter, counted.id) AS has_procedure
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
        WHEN has_procedure THEN 'row_of_procedures'
        ELSE 'unexplained'
    END AS outcome,
    count(*) AS row_count
FROM instance
GROUP BY outcome
