-- Conditions of a person: source rows whose standard concept is of the domain Condition.
-- unit: encounter
-- grain: one row per source row and Condition target
-- reads: patients (id)
-- reads: clinical_event
-- reads: encounters (id, patient)
-- reads: visit_detail (visit_detail_id, visit_occurrence_id, provider_id)
-- reads: claims (patientid, appointmentid, diagnosis1)
-- writes: condition_occurrence
-- source: CDM 5.4 specification, CONDITION_OCCURRENCE; docs/mapping/condition_occurrence.md
WITH first_diagnosis AS (
    SELECT DISTINCT
        patientid,
        appointmentid,
        diagnosis1
    FROM claims
    WHERE
        appointmentid IS NOT NULL
        AND diagnosis1 IS NOT NULL
),

visit AS (
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

INSERT INTO condition_occurrence (
    condition_occurrence_id,
    person_id,
    condition_concept_id,
    condition_start_date,
    condition_start_datetime,
    condition_end_date,
    condition_end_datetime,
    condition_type_concept_id,
    condition_status_concept_id,
    stop_reason,
    provider_id,
    visit_occurrence_id,
    visit_detail_id,
    condition_source_value,
    condition_source_concept_id,
    condition_status_source_value
)
SELECT
    CASE
        WHEN clinical_event.target_rank = 1 THEN clinical_event.row_id
        ELSE (
            SELECT content_id.id FROM content_id
            WHERE content_id.id_key = clinical_event.id_key
        )
    END AS condition_occurrence_id,
    patients.row_id AS person_id,
    clinical_event.concept_id AS condition_concept_id,
    clinical_event.start_at::date AS condition_start_date,
    clinical_event.start_at AS condition_start_datetime,
    clinical_event.end_at::date AS condition_end_date,
    clinical_event.end_at AS condition_end_datetime,
    clinical_event.type_concept_id AS condition_type_concept_id,
    CASE
        WHEN first_diagnosis.diagnosis1 IS NULL THEN 0
        ELSE (
            SELECT fixed_concept.concept_id FROM fixed_concept
            WHERE fixed_concept.fixed_concept_id = 32902 -- Primary diagnosis
        )
    END AS condition_status_concept_id,
    NULL AS stop_reason,
    visit.provider_id,
    visit.visit_occurrence_id,
    visit.visit_detail_id,
    left(clinical_event.code, 50) AS condition_source_value,
    clinical_event.source_concept_id AS condition_source_concept_id,
    CASE WHEN first_diagnosis.diagnosis1 IS NOT NULL THEN 'DIAGNOSIS1' END AS condition_status_source_value
FROM clinical_event
INNER JOIN patients
    ON clinical_event.patient = patients.id
LEFT JOIN visit
    ON
        clinical_event.patient = visit.patient
        AND clinical_event.encounter = visit.encounter
LEFT JOIN first_diagnosis
    ON
        clinical_event.patient = first_diagnosis.patientid
        AND clinical_event.encounter = first_diagnosis.appointmentid
        AND clinical_event.code = first_diagnosis.diagnosis1
        AND clinical_event.vocabulary_id = 'SNOMED'
WHERE clinical_event.target_table = 'condition_occurrence';
