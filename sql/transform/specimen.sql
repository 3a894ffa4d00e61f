-- Specimens of a person: source rows whose standard concept is of the domain Specimen.
-- grain: one row per source row and Specimen target
-- reads: patients (id)
-- reads: clinical_event
-- writes: specimen
-- source: CDM 5.4 specification, SPECIMEN; docs/mapping/specimen.md
INSERT INTO specimen (
    specimen_id,
    person_id,
    specimen_concept_id,
    specimen_type_concept_id,
    specimen_date,
    specimen_datetime,
    quantity,
    unit_concept_id,
    anatomic_site_concept_id,
    disease_status_concept_id,
    specimen_source_id,
    specimen_source_value,
    unit_source_value,
    anatomic_site_source_value,
    disease_status_source_value
)
SELECT
    CASE
        WHEN clinical_event.target_rank = 1 THEN clinical_event.row_id
        ELSE (
            SELECT content_id.id FROM content_id
            WHERE content_id.id_key = clinical_event.id_key
        )
    END AS specimen_id,
    patients.row_id AS person_id,
    clinical_event.concept_id AS specimen_concept_id,
    clinical_event.type_concept_id AS specimen_type_concept_id,
    clinical_event.start_at::date AS specimen_date,
    clinical_event.start_at AS specimen_datetime,
    clinical_event.quantity,
    NULL AS unit_concept_id,
    0 AS anatomic_site_concept_id,
    0 AS disease_status_concept_id,
    NULL AS specimen_source_id,
    left(clinical_event.code, 50) AS specimen_source_value,
    NULL AS unit_source_value,
    NULL AS anatomic_site_source_value,
    NULL AS disease_status_source_value
FROM clinical_event
INNER JOIN patients
    ON clinical_event.patient = patients.id
WHERE clinical_event.target_table = 'specimen';
