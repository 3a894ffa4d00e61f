-- Coded source rows without a row in any event table, event rows without a source row, and those whose person, code, dates or value are not its.
-- grain: one row per source row or event row
-- reads: conditions (patient, start, stop, code)
-- reads: medications (patient, start, stop, code)
-- reads: immunizations (patient, date, code)
-- reads: procedures (patient, start, stop, code)
-- reads: devices (patient, start, stop, code)
-- reads: supplies (patient, date, code)
-- reads: allergies (patient, start, stop, code, category, type)
-- reads: careplans (patient, start, stop, code)
-- reads: observations (patient, date, code, value)
-- reads: imaging_studies
-- reads: condition_occurrence (condition_occurrence_id, person_id, condition_start_date, condition_start_datetime, condition_end_date)
-- reads: condition_occurrence (condition_source_value)
-- reads: drug_exposure (drug_exposure_id, person_id, drug_exposure_start_date, drug_exposure_start_datetime, verbatim_end_date, drug_source_value)
-- reads: procedure_occurrence (procedure_occurrence_id, person_id, procedure_date, procedure_datetime, procedure_end_date, procedure_source_value)
-- reads: measurement (measurement_id, person_id, measurement_date, measurement_datetime, measurement_source_value, value_source_value)
-- reads: observation (observation_id, person_id, observation_date, observation_datetime, observation_source_value, value_source_value)
-- reads: device_exposure (device_exposure_id, person_id, device_exposure_start_date, device_exposure_start_datetime, device_exposure_end_date)
-- reads: device_exposure (device_source_value)
-- reads: specimen (specimen_id, person_id, specimen_date, specimen_datetime, specimen_source_value)
-- looks up: patients
-- looks up: content_id
-- scope: row
-- denominator: (SELECT row_id FROM conditions UNION ALL SELECT row_id FROM medications UNION ALL SELECT row_id FROM immunizations
-- denominator: UNION ALL SELECT row_id FROM procedures UNION ALL SELECT row_id FROM devices UNION ALL SELECT row_id FROM supplies
-- denominator: UNION ALL SELECT row_id FROM allergies UNION ALL SELECT row_id FROM careplans UNION ALL SELECT row_id FROM observations) AS coded
-- severity: fail
-- source: docs/mapping/README.md
WITH coded (row_id, patient, start_at, end_at, code, value_text) AS (
    SELECT
        row_id,
        patient,
        start::timestamp,
        stop::timestamp,
        code,
        NULL
    FROM conditions
    UNION ALL
    SELECT
        row_id,
        patient,
        start::timestamp,
        stop::timestamp,
        code,
        NULL
    FROM medications
    UNION ALL
    SELECT
        row_id,
        patient,
        date::timestamp,
        NULL,
        code,
        NULL
    FROM immunizations
    UNION ALL
    SELECT
        row_id,
        patient,
        start::timestamp,
        stop::timestamp,
        code,
        NULL
    FROM procedures
    UNION ALL
    SELECT
        row_id,
        patient,
        start::timestamp,
        stop::timestamp,
        code,
        NULL
    FROM devices
    UNION ALL
    SELECT
        row_id,
        patient,
        date::timestamp,
        NULL,
        code,
        NULL
    FROM supplies
    UNION ALL
    SELECT
        row_id,
        patient,
        start::timestamp,
        stop::timestamp,
        code,
        nullif(concat_ws(' ', category, type), '') -- neither: no value
    FROM allergies
    UNION ALL
    SELECT
        row_id,
        patient,
        start::timestamp,
        stop::timestamp,
        code,
        NULL
    FROM careplans
    UNION ALL
    SELECT
        row_id,
        patient,
        date::timestamp,
        NULL,
        code,
        value
    FROM observations
),

recorded AS (
    -- What a table does not record is no difference: there the ends and values are not compared.
    SELECT
        condition_occurrence_id AS id,
        person_id,
        condition_start_date AS start_date,
        condition_start_datetime AS start_at,
        condition_end_date AS end_date,
        TRUE AS has_end,
        condition_source_value AS code,
        NULL AS value_text,
        FALSE AS has_value
    FROM condition_occurrence
    UNION ALL
    SELECT
        drug_exposure_id,
        person_id,
        drug_exposure_start_date,
        drug_exposure_start_datetime,
        verbatim_end_date,
        TRUE,
        drug_source_value,
        NULL,
        FALSE
    FROM drug_exposure
    UNION ALL
    SELECT
        procedure_occurrence_id,
        person_id,
        procedure_date,
        procedure_datetime,
        procedure_end_date,
        TRUE,
        procedure_source_value,
        NULL,
        FALSE
    FROM procedure_occurrence
    UNION ALL
    SELECT
        measurement_id,
        person_id,
        measurement_date,
        measurement_datetime,
        NULL,
        FALSE,
        measurement_source_value,
        value_source_value,
        TRUE
    FROM measurement
    UNION ALL
    SELECT
        observation_id,
        person_id,
        observation_date,
        observation_datetime,
        NULL,
        FALSE,
        observation_source_value,
        value_source_value,
        TRUE
    FROM observation
    UNION ALL
    SELECT
        device_exposure_id,
        person_id,
        device_exposure_start_date,
        device_exposure_start_datetime,
        device_exposure_end_date,
        TRUE,
        device_source_value,
        NULL,
        FALSE
    FROM device_exposure
    UNION ALL
    SELECT
        specimen_id,
        person_id,
        specimen_date,
        specimen_datetime,
        NULL,
        FALSE,
        specimen_source_value,
        NULL,
        FALSE
    FROM specimen
)

SELECT coalesce(recorded.id, coded.row_id) AS id
FROM coded
FULL JOIN recorded
    ON coded.row_id = recorded.id
LEFT JOIN patients
    ON recorded.person_id = patients.row_id
WHERE
    recorded.id IS NULL
    OR (
        -- an imaging study without a procedure's row, and what has an id of its own: second targets, reactions
        coded.row_id IS NULL
        AND NOT EXISTS (
            SELECT
            FROM imaging_studies
            WHERE imaging_studies.row_id = recorded.id
        )
        AND NOT EXISTS (
            SELECT
            FROM content_id
            WHERE content_id.id = recorded.id
        )
    )
    OR (
        coded.row_id IS NOT NULL
        AND (
            patients.id IS DISTINCT FROM coded.patient
            OR recorded.start_date IS DISTINCT FROM coded.start_at::date
            OR recorded.start_at IS DISTINCT FROM coded.start_at
            OR recorded.code IS DISTINCT FROM left(coded.code, 50)
            OR (recorded.has_end AND recorded.end_date IS DISTINCT FROM coded.end_at::date)
            OR (recorded.has_value AND recorded.value_text IS DISTINCT FROM left(coded.value_text, 50))
        )
    )
