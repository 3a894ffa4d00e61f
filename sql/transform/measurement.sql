-- Measurements of a person: source rows whose standard concept is of the domain Measurement.
-- unit: encounter
-- grain: one row per source row and Measurement target
-- reads: patients (id)
-- reads: clinical_event
-- reads: encounters (id, patient)
-- reads: visit_detail (visit_detail_id, visit_occurrence_id, provider_id)
-- writes: measurement
-- source: CDM 5.4 specification, MEASUREMENT; docs/mapping/measurement.md
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

INSERT INTO measurement (
    measurement_id,
    person_id,
    measurement_concept_id,
    measurement_date,
    measurement_datetime,
    measurement_time,
    measurement_type_concept_id,
    operator_concept_id,
    value_as_number,
    value_as_concept_id,
    unit_concept_id,
    range_low,
    range_high,
    provider_id,
    visit_occurrence_id,
    visit_detail_id,
    measurement_source_value,
    measurement_source_concept_id,
    unit_source_value,
    unit_source_concept_id,
    value_source_value,
    measurement_event_id,
    meas_event_field_concept_id
)
SELECT
    CASE
        WHEN clinical_event.target_rank = 1 THEN clinical_event.row_id
        ELSE (
            SELECT content_id.id FROM content_id
            WHERE content_id.id_key = clinical_event.id_key
        )
    END AS measurement_id,
    patients.row_id AS person_id,
    clinical_event.concept_id AS measurement_concept_id,
    clinical_event.start_at::date AS measurement_date,
    clinical_event.start_at AS measurement_datetime,
    substr(clinical_event.start_at::time::text, 1, 8) AS measurement_time, -- whole seconds; to_char takes thrice as long
    clinical_event.type_concept_id AS measurement_type_concept_id,
    NULL AS operator_concept_id,
    CASE
        WHEN
            clinical_event.value_text ~ '^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?0*[0-9]{1,2})?$'
            AND length(clinical_event.value_text) <= 100
            THEN clinical_event.value_text::numeric
    END AS value_as_number,
    coalesce(
        clinical_event.value_as_concept_id,
        answer_map.concept_id,
        CASE WHEN clinical_event.value_type = 'text' AND clinical_event.value_text IS NOT NULL THEN 0 END
    ) AS value_as_concept_id,
    CASE WHEN clinical_event.units IS NOT NULL THEN coalesce(unit_map.unit_concept_id, 0) END AS unit_concept_id,
    NULL AS range_low,
    NULL AS range_high,
    visit.provider_id,
    visit.visit_occurrence_id,
    visit.visit_detail_id,
    left(clinical_event.code, 50) AS measurement_source_value,
    clinical_event.source_concept_id AS measurement_source_concept_id,
    left(clinical_event.units, 50) AS unit_source_value,
    NULL AS unit_source_concept_id,
    left(clinical_event.value_text, 50) AS value_source_value,
    NULL AS measurement_event_id,
    NULL AS meas_event_field_concept_id
FROM clinical_event
INNER JOIN patients
    ON clinical_event.patient = patients.id
LEFT JOIN visit
    ON
        clinical_event.patient = visit.patient
        AND clinical_event.encounter = visit.encounter
LEFT JOIN unit_map
    ON clinical_event.units = unit_map.unit_source_value
LEFT JOIN answer_map
    ON
        clinical_event.value_text = answer_map.value_text
        AND clinical_event.value_type = 'text'
WHERE clinical_event.target_table = 'measurement';
