-- Procedures, medications and careplans that name the condition they were done for, with the CDM table they went to.
-- grain: one row per source row with a reason code
-- reads: procedures (patient, start, code, system, reasoncode)
-- reads: medications (patient, start, code, reasoncode)
-- reads: careplans (patient, start, code, reasoncode)
-- source: Synthea CSV data dictionary (REASONCODE is a SNOMED code); docs/mapping/fact_relationship.md
WITH reason AS (
    SELECT
        row_id,
        patient,
        start AS start_at,
        CASE
            WHEN system IS NULL OR lower(system) IN ('unknown', 'snomed', 'snomed-ct', 'http://snomed.info/sct') THEN 'SNOMED'
            WHEN lower(system) IN ('rxnorm', 'http://www.nlm.nih.gov/research/umls/rxnorm') THEN 'RxNorm'
            WHEN lower(system) = 'http://loinc.org' THEN 'LOINC'
            ELSE system
        END AS vocabulary_id,
        code,
        reasoncode,
        'procedure_occurrence' AS default_table
    FROM procedures
    WHERE reasoncode IS NOT NULL
    UNION ALL
    SELECT
        row_id,
        patient,
        start,
        'RxNorm',
        code,
        reasoncode,
        'drug_exposure'
    FROM medications
    WHERE reasoncode IS NOT NULL
    UNION ALL
    SELECT
        row_id,
        patient,
        start,
        'SNOMED',
        code,
        reasoncode,
        'observation'
    FROM careplans
    WHERE reasoncode IS NOT NULL
)

SELECT
    reason.row_id,
    reason.patient,
    reason.start_at,
    reason.reasoncode,
    coalesce(code_map.target_table, reason.default_table) AS target_table
FROM reason
LEFT JOIN code_map
    ON
        reason.vocabulary_id = code_map.vocabulary_id
        AND reason.code = code_map.code
        AND code_map.ordinal = 1
