-- Deaths, on the day that the person's own record gives.
-- grain: one row per patient with a DEATHDATE
-- reads: patients (id, deathdate)
-- reads: encounters (id, start, stop, patient, code, reasoncode)
-- writes: death
-- source: CDM 5.4 specification, DEATH; docs/mapping/death.md
WITH cause AS (
    -- Several certificates: the first that names a reason.
    SELECT DISTINCT ON (patient)
        patient,
        reasoncode
    FROM encounters
    WHERE
        code = '308646001' -- SNOMED: Death Certification
        AND reasoncode IS NOT NULL
    ORDER BY
        patient,
        start,
        stop,
        id
)

INSERT INTO death (
    person_id,
    death_date,
    death_datetime,
    death_type_concept_id,
    cause_concept_id,
    cause_source_value,
    cause_source_concept_id
)
SELECT
    patients.row_id AS person_id,
    patients.deathdate::date AS death_date,
    -- Exports that write the day alone are staged at midnight: no time is known.
    nullif(patients.deathdate, date_trunc('day', patients.deathdate)) AS death_datetime,
    (
        SELECT fixed_concept.concept_id FROM fixed_concept
        WHERE fixed_concept.fixed_concept_id = 32817 -- EHR
    ) AS death_type_concept_id,
    CASE WHEN cause.reasoncode IS NOT NULL THEN coalesce(code_map.concept_id, 0) END AS cause_concept_id,
    left(cause.reasoncode, 50) AS cause_source_value,
    CASE WHEN cause.reasoncode IS NOT NULL THEN coalesce(code_map.source_concept_id, 0) END AS cause_source_concept_id
FROM patients
LEFT JOIN cause
    ON patients.id = cause.patient
LEFT JOIN code_map
    ON
        cause.reasoncode = code_map.code
        AND code_map.vocabulary_id = 'SNOMED'
        AND code_map.ordinal = 1
WHERE patients.deathdate IS NOT NULL;
