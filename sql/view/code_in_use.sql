-- Every code that a transform looks up: the coded rows', and those of reasons, reactions, severities, body sites and modalities.
-- grain: one row per vocabulary and code
-- reads: source_event
-- reads: observations (code)
-- reads: encounters (reasoncode)
-- reads: allergies (reaction1, reaction2)
-- reads: imaging_studies (bodysite_code, modality_code, procedure_code)
-- source: docs/mapping/observation.md (severities, reactions, body sites), docs/mapping/procedure_occurrence.md (modalities)
WITH observation_code AS (
    SELECT DISTINCT code
    FROM observations
),

event_code AS (
    SELECT DISTINCT
        vocabulary_id,
        code
    FROM source_event
    WHERE source_table <> 'observations'
    UNION ALL
    -- As in the view source_event, told once for each code: a million observations have a few hundred.
    SELECT
        CASE WHEN code ~ '^[0-9]+-[0-9]$' THEN 'LOINC' ELSE 'SNOMED' END,
        code
    FROM observation_code
),

imaging_code AS (
    SELECT DISTINCT
        bodysite_code,
        modality_code,
        procedure_code
    FROM imaging_studies
),

constant_code (vocabulary_id, code) AS (
    VALUES
    ('SNOMED', '255604002'), -- Mild
    ('SNOMED', '6736007'), -- Moderate
    ('SNOMED', '24484000'), -- Severe
    ('SNOMED', '416098002'), -- Allergy to drug
    ('SNOMED', '419199007'), -- Allergy to substance
    ('LOINC', '39111-0') -- Body site
),

code_use AS (
    SELECT
        vocabulary_id,
        code
    FROM event_code
    UNION ALL
    SELECT DISTINCT
        'SNOMED',
        reasoncode
    FROM encounters
    UNION ALL
    SELECT
        'SNOMED',
        reaction1
    FROM allergies
    UNION ALL
    SELECT
        'SNOMED',
        reaction2
    FROM allergies
    UNION ALL
    SELECT
        'SNOMED',
        bodysite_code
    FROM imaging_code
    UNION ALL
    SELECT
        'SNOMED',
        procedure_code
    FROM imaging_code
    UNION ALL
    SELECT
        'DICOM',
        modality_code
    FROM imaging_code
    UNION ALL
    SELECT
        vocabulary_id,
        code
    FROM constant_code
)

SELECT DISTINCT
    vocabulary_id,
    code
FROM code_use
WHERE code IS NOT NULL
