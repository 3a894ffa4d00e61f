-- Every coded row of the nine clinical source tables in one shape, with the vocabulary of its code and the table it goes to unmapped.
-- grain: one row per source row
-- reads: conditions (patient, encounter, start, stop, code, system)
-- reads: medications (patient, encounter, start, stop, code, dispenses)
-- reads: immunizations (patient, encounter, date, code)
-- reads: procedures (patient, encounter, start, stop, code, system)
-- reads: devices (patient, encounter, start, stop, code, udi)
-- reads: supplies (patient, encounter, date, code, quantity)
-- reads: allergies (patient, encounter, start, stop, code, system, type, category, severity1)
-- reads: careplans (patient, encounter, start, stop, code)
-- reads: observations (patient, encounter, date, category, code, value, units, type)
-- source: Synthea CSV data dictionary; docs/mapping/condition_occurrence.md (vocabulary of a code, table of an unmapped row)
SELECT
    'conditions' AS source_table,
    row_id,
    patient,
    encounter,
    start AS start_at,
    stop AS end_at,
    code,
    CASE
        WHEN system IS NULL OR lower(system) IN ('unknown', 'snomed', 'snomed-ct', 'http://snomed.info/sct') THEN 'SNOMED'
        WHEN lower(system) IN ('rxnorm', 'http://www.nlm.nih.gov/research/umls/rxnorm') THEN 'RxNorm'
        WHEN lower(system) = 'http://loinc.org' THEN 'LOINC'
        ELSE system
    END AS vocabulary_id,
    CASE WHEN encounter IS NULL THEN 32817 ELSE 32827 END AS fixed_type_id, -- EHR, EHR encounter record
    'condition_occurrence' AS default_table,
    NULL::text AS value_text,
    NULL::text AS value_type,
    NULL::text AS units,
    NULL::text AS severity,
    NULL::numeric AS quantity,
    NULL::text AS udi
FROM conditions
UNION ALL
SELECT
    'medications',
    row_id,
    patient,
    encounter,
    start,
    stop,
    code,
    'RxNorm',
    32838, -- EHR prescription
    'drug_exposure',
    NULL,
    NULL,
    NULL,
    NULL,
    dispenses,
    NULL
FROM medications
UNION ALL
SELECT
    'immunizations',
    row_id,
    patient,
    encounter,
    date,
    NULL,
    code,
    'CVX',
    32818, -- EHR administration record
    'drug_exposure',
    NULL,
    NULL,
    NULL,
    NULL,
    1, -- one row is one dose given
    NULL
FROM immunizations
UNION ALL
SELECT
    'procedures',
    row_id,
    patient,
    encounter,
    start,
    stop,
    code,
    CASE
        WHEN system IS NULL OR lower(system) IN ('unknown', 'snomed', 'snomed-ct', 'http://snomed.info/sct') THEN 'SNOMED'
        WHEN lower(system) IN ('rxnorm', 'http://www.nlm.nih.gov/research/umls/rxnorm') THEN 'RxNorm'
        WHEN lower(system) = 'http://loinc.org' THEN 'LOINC'
        ELSE system
    END,
    CASE WHEN encounter IS NULL THEN 32817 ELSE 32827 END, -- EHR, EHR encounter record
    'procedure_occurrence',
    NULL,
    NULL,
    NULL,
    NULL,
    NULL,
    NULL
FROM procedures
UNION ALL
SELECT
    'devices',
    row_id,
    patient,
    encounter,
    start,
    stop,
    code,
    'SNOMED',
    CASE WHEN encounter IS NULL THEN 32817 ELSE 32827 END, -- EHR, EHR encounter record
    'device_exposure',
    NULL,
    NULL,
    NULL,
    NULL,
    NULL,
    udi
FROM devices
UNION ALL
SELECT
    'supplies',
    row_id,
    patient,
    encounter,
    date,
    NULL,
    code,
    'SNOMED',
    CASE WHEN encounter IS NULL THEN 32817 ELSE 32827 END, -- EHR, EHR encounter record
    'device_exposure',
    NULL,
    NULL,
    NULL,
    NULL,
    quantity,
    NULL
FROM supplies
UNION ALL
SELECT
    'allergies',
    row_id,
    patient,
    encounter,
    start,
    stop,
    code,
    CASE
        WHEN lower(system) IN ('snomed', 'snomed-ct', 'http://snomed.info/sct') THEN 'SNOMED'
        WHEN lower(system) IN ('rxnorm', 'http://www.nlm.nih.gov/research/umls/rxnorm') THEN 'RxNorm'
        WHEN lower(system) <> 'unknown' THEN system
        -- a SNOMED concept id has 6 to 18 digits, 00 or 10 before its check digit; Synthea's other allergens are RxNorm drugs
        WHEN lower(category) = 'medication' AND code ~ '^\d{1,7}$' AND code !~ '^\d{3,}[01]0\d$' THEN 'RxNorm'
        ELSE 'SNOMED'
    END,
    CASE WHEN encounter IS NULL THEN 32817 ELSE 32827 END, -- EHR, EHR encounter record
    'observation',
    nullif(concat_ws(' ', category, type), ''),
    'allergy',
    NULL,
    severity1,
    NULL,
    NULL
FROM allergies
UNION ALL
SELECT
    'careplans',
    row_id,
    patient,
    encounter,
    start,
    stop,
    code,
    'SNOMED',
    CASE WHEN encounter IS NULL THEN 32817 ELSE 32827 END, -- EHR, EHR encounter record
    'observation',
    NULL,
    NULL,
    NULL,
    NULL,
    NULL,
    NULL
FROM careplans
UNION ALL
SELECT
    'observations',
    row_id,
    patient,
    encounter,
    date,
    NULL,
    code,
    -- the shape of a LOINC code: digits, a hyphen, one check digit
    CASE WHEN code ~ '^[0-9]+-[0-9]$' THEN 'LOINC' ELSE 'SNOMED' END,
    CASE WHEN encounter IS NULL THEN 32817 ELSE 32827 END, -- EHR, EHR encounter record
    CASE
        WHEN type = 'numeric' OR category IN ('vital-signs', 'laboratory') THEN 'measurement'
        ELSE 'observation'
    END,
    value,
    type,
    units,
    NULL,
    NULL,
    NULL
FROM observations
