-- Every code that a transform looks up: the coded rows', and those of reasons, reactions, severities, body sites and modalities.
-- grain: one row per vocabulary and code
-- reads: source_event
-- reads: imaging_study
-- reads: encounters (reasoncode)
-- reads: allergies (reaction1, reaction2)
-- source: docs/mapping/observation.md (severities, reactions, body sites), docs/mapping/procedure_occurrence.md (modalities)
WITH constant_code (vocabulary_id, code) AS (
    VALUES
    ('SNOMED', '255604002'), -- Mild
    ('SNOMED', '6736007'), -- Moderate
    ('SNOMED', '24484000'), -- Severe
    ('SNOMED', '416098002'), -- Allergy to drug
    ('SNOMED', '419199007'), -- Allergy to substance
    ('LOINC', '39111-0') -- Body site
)

SELECT
    vocabulary_id,
    code
FROM source_event
WHERE code IS NOT NULL
UNION
SELECT
    'SNOMED',
    reasoncode
FROM encounters
WHERE reasoncode IS NOT NULL
UNION
SELECT
    'SNOMED',
    reaction1
FROM allergies
WHERE reaction1 IS NOT NULL
UNION
SELECT
    'SNOMED',
    reaction2
FROM allergies
WHERE reaction2 IS NOT NULL
UNION
SELECT
    'SNOMED',
    bodysite_code
FROM imaging_study
WHERE bodysite_code IS NOT NULL
UNION
SELECT
    'SNOMED',
    procedure_code
FROM imaging_study
WHERE procedure_code IS NOT NULL
UNION
SELECT
    'DICOM',
    modality_code
FROM imaging_study
WHERE modality_code IS NOT NULL
UNION
SELECT
    vocabulary_id,
    code
FROM constant_code
