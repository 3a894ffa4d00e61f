-- The codes of CDM rows without a standard concept, by frequency, each with the description of one of its source rows.
-- grain: one row per vocabulary and code
-- reads: the event tables of the CDM, patients, source_event, description (row_id, patient, description: a view that the caller makes)
-- source: CDM 5.4 specification (concept 0 where nothing maps)
WITH unmapped AS (
    SELECT
        'condition_occurrence' AS cdm_table,
        condition_source_value AS code,
        NULL AS description,
        count(*) AS record_count,
        min(condition_occurrence_id) AS example_id
    FROM condition_occurrence
    WHERE condition_concept_id = 0
    GROUP BY condition_source_value
    UNION ALL
    SELECT
        'drug_exposure',
        drug_source_value,
        NULL,
        count(*),
        min(drug_exposure_id)
    FROM drug_exposure
    WHERE drug_concept_id = 0
    GROUP BY drug_source_value
    UNION ALL
    SELECT
        'procedure_occurrence',
        procedure_source_value,
        NULL,
        count(*),
        min(procedure_occurrence_id)
    FROM procedure_occurrence
    WHERE procedure_concept_id = 0
    GROUP BY procedure_source_value
    UNION ALL
    SELECT
        'measurement',
        measurement_source_value,
        NULL,
        count(*),
        min(measurement_id)
    FROM measurement
    WHERE measurement_concept_id = 0
    GROUP BY measurement_source_value
    UNION ALL
    SELECT
        'device_exposure',
        device_source_value,
        NULL,
        count(*),
        min(device_exposure_id)
    FROM device_exposure
    WHERE device_concept_id = 0
    GROUP BY device_source_value
    UNION ALL
    SELECT
        'specimen',
        specimen_source_value,
        NULL,
        count(*),
        min(specimen_id)
    FROM specimen
    WHERE specimen_concept_id = 0
    GROUP BY specimen_source_value
    UNION ALL
    SELECT
        'observation',
        observation_source_value,
        -- an allergy's reaction is no source row: its text stands in the CDM row
        min(qualifier_source_value) FILTER (WHERE observation_event_id IS NOT NULL),
        count(*),
        min(observation_id)
    FROM observation
    WHERE observation_concept_id = 0
    GROUP BY
        observation_source_value,
        observation_event_id IS NOT NULL
),

example AS (
    SELECT
        condition_occurrence_id AS example_id,
        person_id
    FROM condition_occurrence
    WHERE condition_occurrence_id IN (SELECT unmapped.example_id FROM unmapped)
    UNION
    SELECT
        drug_exposure_id,
        person_id
    FROM drug_exposure
    WHERE drug_exposure_id IN (SELECT unmapped.example_id FROM unmapped)
    UNION
    SELECT
        procedure_occurrence_id,
        person_id
    FROM procedure_occurrence
    WHERE procedure_occurrence_id IN (SELECT unmapped.example_id FROM unmapped)
    UNION
    SELECT
        measurement_id,
        person_id
    FROM measurement
    WHERE measurement_id IN (SELECT unmapped.example_id FROM unmapped)
    UNION
    SELECT
        device_exposure_id,
        person_id
    FROM device_exposure
    WHERE device_exposure_id IN (SELECT unmapped.example_id FROM unmapped)
    UNION
    SELECT
        specimen_id,
        person_id
    FROM specimen
    WHERE specimen_id IN (SELECT unmapped.example_id FROM unmapped)
    UNION
    SELECT
        observation_id,
        person_id
    FROM observation
    WHERE observation_id IN (SELECT unmapped.example_id FROM unmapped)
),

described AS (
    SELECT
        unmapped.cdm_table,
        unmapped.record_count,
        source_event.source_table,
        -- reactions and imaging procedures are SNOMED's; their code is not the source row's own
        coalesce(source_event.vocabulary_id, 'SNOMED') AS vocabulary_id,
        coalesce(source_event.code, unmapped.code) AS code,
        coalesce(unmapped.description, description.description) AS description
    FROM unmapped
    LEFT JOIN example
        ON unmapped.example_id = example.example_id
    LEFT JOIN patients
        ON example.person_id = patients.row_id
    LEFT JOIN source_event
        ON
            patients.id = source_event.patient
            AND unmapped.example_id = source_event.row_id
    LEFT JOIN description
        ON
            patients.id = description.patient
            AND unmapped.example_id = description.row_id
)

SELECT
    vocabulary_id,
    code,
    min(description COLLATE "C") AS description,
    string_agg(DISTINCT cdm_table, ', ' ORDER BY cdm_table) AS cdm_tables,
    string_agg(DISTINCT source_table, ', ' ORDER BY source_table) AS source_tables,
    sum(record_count)::bigint AS records
FROM described
WHERE code IS NOT NULL
GROUP BY
    vocabulary_id,
    code
ORDER BY
    records DESC,
    vocabulary_id ASC,
    code COLLATE "C" ASC
