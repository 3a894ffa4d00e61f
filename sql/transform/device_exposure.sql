-- Devices and supplies of a person: source rows whose standard concept is of the domain Device.
-- unit: encounter
-- grain: one row per source row and Device target
-- reads: patients (id)
-- reads: clinical_event
-- reads: encounters (id, patient)
-- reads: visit_detail (visit_detail_id, visit_occurrence_id, provider_id)
-- writes: device_exposure
-- source: CDM 5.4 specification, DEVICE_EXPOSURE; docs/mapping/device_exposure.md
WITH visit AS (
    SELECT
        encounters.patient,
        encounters.id AS encounter,
        visit_detail.visit_detail_id,
        visit_detail.visit_occurrence_id,
        visit_detail.provider_id
    FROM encounters
    INNER JOIN visit_detail
        ON encounters.row_id = visit_detail.visit_detail_id
)

INSERT INTO device_exposure (
    device_exposure_id,
    person_id,
    device_concept_id,
    device_exposure_start_date,
    device_exposure_start_datetime,
    device_exposure_end_date,
    device_exposure_end_datetime,
    device_type_concept_id,
    unique_device_id,
    production_id,
    quantity,
    provider_id,
    visit_occurrence_id,
    visit_detail_id,
    device_source_value,
    device_source_concept_id,
    unit_concept_id,
    unit_source_value,
    unit_source_concept_id
)
SELECT
    CASE
        WHEN clinical_event.target_rank = 1 THEN clinical_event.row_id
        ELSE (
            SELECT content_id.id FROM content_id
            WHERE content_id.id_key = clinical_event.id_key
        )
    END AS device_exposure_id,
    patients.row_id AS person_id,
    clinical_event.concept_id AS device_concept_id,
    clinical_event.start_at::date AS device_exposure_start_date,
    clinical_event.start_at AS device_exposure_start_datetime,
    clinical_event.end_at::date AS device_exposure_end_date,
    clinical_event.end_at AS device_exposure_end_datetime,
    clinical_event.type_concept_id AS device_type_concept_id,
    -- (01) opens the device identifier; what follows it, from the next bracket on, is the production identifier
    left(coalesce(substring(clinical_event.udi FROM '^\(01\)[^(]*'), clinical_event.udi), 255) AS unique_device_id,
    left(substring(clinical_event.udi FROM '^\(01\)[^(]*(\(.+)$'), 255) AS production_id,
    coalesce(round(clinical_event.quantity), 1)::integer AS quantity,
    visit.provider_id,
    visit.visit_occurrence_id,
    visit.visit_detail_id,
    left(clinical_event.code, 50) AS device_source_value,
    clinical_event.source_concept_id AS device_source_concept_id,
    NULL AS unit_concept_id,
    NULL AS unit_source_value,
    NULL AS unit_source_concept_id
FROM clinical_event
INNER JOIN patients
    ON clinical_event.patient = patients.id
LEFT JOIN visit
    ON
        clinical_event.patient = visit.patient
        AND clinical_event.encounter = visit.encounter
WHERE clinical_event.target_table = 'device_exposure';
