-- Imaging studies that no procedure stands for: neither one of their own nor one of the same encounter, code and day.
-- grain: one row per study
-- reads: imaging_studies (id, patient, encounter, date, procedure_code)
-- reads: procedures (patient, encounter, code, start)
-- reads: procedure_occurrence (procedure_occurrence_id)
-- scope: person
-- denominator: (SELECT DISTINCT patient, encounter, id FROM imaging_studies) AS study
-- severity: fail
-- source: docs/mapping/procedure_occurrence.md
WITH study AS (
    SELECT
        imaging_studies.patient,
        imaging_studies.encounter,
        imaging_studies.id,
        imaging_studies.procedure_code,
        imaging_studies.date::date AS study_date,
        min(imaging_studies.row_id) AS row_id,
        bool_or(procedure_occurrence.procedure_occurrence_id IS NOT NULL) AS has_own
    FROM imaging_studies
    LEFT JOIN procedure_occurrence
        ON imaging_studies.row_id = procedure_occurrence.procedure_occurrence_id
    GROUP BY
        imaging_studies.patient,
        imaging_studies.encounter,
        imaging_studies.id,
        imaging_studies.procedure_code,
        imaging_studies.date::date
),

-- only of studies without a procedure of their own
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
            AND study.study_date = procedures.start::date
    WHERE NOT study.has_own
)

SELECT min(study.row_id) AS row_id
FROM study
LEFT JOIN performed -- a study without an encounter has none
    ON
        study.patient = performed.patient
        AND study.encounter = performed.encounter
        AND study.id = performed.id
GROUP BY
    study.patient,
    study.encounter,
    study.id
HAVING
    NOT bool_or(study.has_own)
    AND count(performed.id) = 0
