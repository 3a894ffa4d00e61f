-- Procedures of a person: source rows whose standard concept is of the domain Procedure, and imaging studies that no procedure stands for.
-- unit: encounter
-- grain: one row per source row and Procedure target, and one per unmatched imaging study
-- reads: patients (id)
-- reads: clinical_event
-- reads: imaging_study
-- reads: procedures (patient, encounter, code, start)
-- reads: encounters (id, patient)
-- reads: visit_detail (visit_detail_id, visit_occurrence_id, provider_id)
-- writes: procedure_occurrence
-- source: CDM 5.4 specification, PROCEDURE_OCCURRENCE; docs/mapping/procedure_occurrence.md
CREATE TEMP TABLE study ON COMMIT DROP AS
SELECT
    imaging_study.row_id,
    imaging_study.patient,
    imaging_study.encounter,
    imaging_study.start_at,
    imaging_study.procedure_code,
    imaging_study.modality_code,
    CASE WHEN imaging_study.modality_code IS NOT NULL THEN coalesce(modality.concept_id, 0) END AS modality_concept_id
FROM imaging_study
LEFT JOIN code_map AS modality
    ON
        imaging_study.modality_code = modality.code
        AND modality.vocabulary_id = 'DICOM'
        AND modality.ordinal = 1
WHERE imaging_study.site_rank = 1;

WITH study_procedure AS (
    SELECT DISTINCT ON (patient, encounter, procedure_code, start_at::date)
        patient,
        encounter,
        procedure_code,
        start_at::date AS study_date,
        modality_code,
        modality_concept_id
    FROM study
    ORDER BY
        patient,
        encounter,
        procedure_code,
        start_at::date,
        modality_code COLLATE "C"
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

INSERT INTO procedure_occurrence (
    procedure_occurrence_id,
    person_id,
    procedure_concept_id,
    procedure_date,
    procedure_datetime,
    procedure_end_date,
    procedure_end_datetime,
    procedure_type_concept_id,
    modifier_concept_id,
    quantity,
    provider_id,
    visit_occurrence_id,
    visit_detail_id,
    procedure_source_value,
    procedure_source_concept_id,
    modifier_source_value
)
SELECT
    CASE
        WHEN clinical_event.target_rank = 1 THEN clinical_event.row_id
        ELSE (
            SELECT content_id.id FROM content_id
            WHERE content_id.id_key = clinical_event.id_key
        )
    END AS procedure_occurrence_id,
    patients.row_id AS person_id,
    clinical_event.concept_id AS procedure_concept_id,
    clinical_event.start_at::date AS procedure_date,
    clinical_event.start_at AS procedure_datetime,
    clinical_event.end_at::date AS procedure_end_date,
    clinical_event.end_at AS procedure_end_datetime,
    clinical_event.type_concept_id AS procedure_type_concept_id,
    study_procedure.modality_concept_id AS modifier_concept_id,
    NULL AS quantity,
    visit.provider_id,
    visit.visit_occurrence_id,
    visit.visit_detail_id,
    left(clinical_event.code, 50) AS procedure_source_value,
    clinical_event.source_concept_id AS procedure_source_concept_id,
    left(study_procedure.modality_code, 50) AS modifier_source_value
FROM clinical_event
INNER JOIN patients
    ON clinical_event.patient = patients.id
LEFT JOIN visit
    ON
        clinical_event.patient = visit.patient
        AND clinical_event.encounter = visit.encounter
LEFT JOIN study_procedure
    ON
        clinical_event.patient = study_procedure.patient
        AND clinical_event.encounter = study_procedure.encounter
        AND clinical_event.code = study_procedure.procedure_code
        AND clinical_event.start_at::date = study_procedure.study_date
        AND clinical_event.source_table = 'procedures'
WHERE clinical_event.target_table = 'procedure_occurrence';

WITH unmatched_study AS (
    SELECT
        row_id,
        patient,
        encounter,
        start_at,
        procedure_code,
        modality_code,
        modality_concept_id
    FROM study
    WHERE
        NOT EXISTS (
            SELECT
            FROM procedures
            WHERE
                procedures.patient = study.patient
                AND procedures.encounter = study.encounter
                AND procedures.code = study.procedure_code
                AND procedures.start::date = study.start_at::date
        )
),

procedure_target AS (
    -- A study is a procedure whatever its code is: a concept of another domain counts as none.
    SELECT DISTINCT ON (code)
        code,
        CASE WHEN target_table = 'procedure_occurrence' THEN concept_id ELSE 0 END AS concept_id,
        source_concept_id
    FROM code_map
    WHERE vocabulary_id = 'SNOMED'
    ORDER BY
        code ASC,
        coalesce(target_table = 'procedure_occurrence', FALSE) DESC,
        ordinal ASC
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

INSERT INTO procedure_occurrence (
    procedure_occurrence_id,
    person_id,
    procedure_concept_id,
    procedure_date,
    procedure_datetime,
    procedure_type_concept_id,
    modifier_concept_id,
    provider_id,
    visit_occurrence_id,
    visit_detail_id,
    procedure_source_value,
    procedure_source_concept_id,
    modifier_source_value
)
SELECT
    unmatched_study.row_id AS procedure_occurrence_id,
    patients.row_id AS person_id,
    coalesce(procedure_target.concept_id, 0) AS procedure_concept_id,
    unmatched_study.start_at::date AS procedure_date,
    unmatched_study.start_at AS procedure_datetime,
    CASE
        WHEN unmatched_study.encounter IS NULL
            THEN (
                SELECT fixed_concept.concept_id FROM fixed_concept
                WHERE fixed_concept.fixed_concept_id = 32817 -- EHR
            )
        ELSE (
            SELECT fixed_concept.concept_id FROM fixed_concept
            WHERE fixed_concept.fixed_concept_id = 32827 -- EHR encounter record
        )
    END AS procedure_type_concept_id,
    unmatched_study.modality_concept_id AS modifier_concept_id,
    visit.provider_id,
    visit.visit_occurrence_id,
    visit.visit_detail_id,
    left(coalesce(unmatched_study.procedure_code, unmatched_study.modality_code), 50) AS procedure_source_value,
    coalesce(procedure_target.source_concept_id, 0) AS procedure_source_concept_id,
    left(unmatched_study.modality_code, 50) AS modifier_source_value
FROM unmatched_study
INNER JOIN patients
    ON unmatched_study.patient = patients.id
LEFT JOIN visit
    ON
        unmatched_study.patient = visit.patient
        AND unmatched_study.encounter = visit.encounter
LEFT JOIN procedure_target
    ON unmatched_study.procedure_code = procedure_target.code;
