-- Imaging studies by body site; Synthea writes one row per instance, so one study has many rows.
-- grain: one row per imaging study and body site, with the row_id of its first row in content order
-- reads: imaging_studies (id, date, patient, encounter, series_uid, bodysite_code)
-- reads: imaging_studies (bodysite_description, modality_code, modality_description, instance_uid, sop_code, sop_description, procedure_code)
-- source: Synthea CSV data dictionary (Id is the study's and repeats); docs/mapping/procedure_occurrence.md
WITH study_site AS (
    SELECT DISTINCT ON (patient, encounter, id, bodysite_code)
        row_id,
        patient,
        encounter,
        id,
        date,
        bodysite_code,
        bodysite_description,
        modality_code,
        procedure_code,
        series_uid,
        instance_uid,
        modality_description,
        sop_code,
        sop_description
    FROM imaging_studies
    ORDER BY
        patient,
        encounter,
        id,
        bodysite_code,
        date,
        series_uid COLLATE "C",
        instance_uid COLLATE "C",
        modality_code COLLATE "C",
        procedure_code COLLATE "C",
        bodysite_description COLLATE "C",
        modality_description COLLATE "C",
        sop_code COLLATE "C",
        sop_description COLLATE "C",
        row_id
)

SELECT
    row_id,
    patient,
    encounter,
    id,
    date AS start_at,
    bodysite_code,
    bodysite_description,
    modality_code,
    procedure_code,
    -- 1 marks the study's first row, which stands for the study
    row_number() OVER (
        PARTITION BY patient, encounter, id
        ORDER BY
            date,
            series_uid COLLATE "C",
            instance_uid COLLATE "C",
            modality_code COLLATE "C",
            procedure_code COLLATE "C",
            bodysite_code COLLATE "C"
    ) AS site_rank
FROM study_site
