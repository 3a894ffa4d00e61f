-- Every coded source row with its standard concepts and the CDM table that each of them belongs to.
-- grain: one row per source row and target of its code (one row, concept 0, where nothing maps)
-- reads: source_event
-- source: OHDSI convention (a record goes to the table of its standard concept's domain); docs/mapping/condition_occurrence.md
WITH code_target AS (
    SELECT
        vocabulary_id,
        code,
        ordinal,
        target_table,
        concept_id,
        source_concept_id,
        value_as_concept_id,
        row_number() OVER (PARTITION BY vocabulary_id, code, target_table ORDER BY ordinal) AS target_rank,
        -- an allergy to a substance is an observation about it, never an exposure to it
        CASE WHEN target_table = 'condition_occurrence' THEN target_table ELSE 'observation' END AS allergy_table,
        row_number() OVER (
            PARTITION BY vocabulary_id, code, target_table = 'condition_occurrence'
            ORDER BY ordinal
        ) AS allergy_rank
    FROM code_map
),

routed AS (
    SELECT
        source_event.source_table,
        source_event.row_id,
        source_event.patient,
        source_event.encounter,
        source_event.start_at,
        source_event.end_at,
        source_event.code,
        source_event.vocabulary_id,
        source_event.value_text,
        source_event.value_type,
        source_event.units,
        source_event.severity,
        source_event.quantity,
        source_event.udi,
        source_event.fixed_type_id,
        code_target.ordinal,
        code_target.target_table AS code_table,
        coalesce(code_target.concept_id, 0) AS concept_id,
        coalesce(code_target.source_concept_id, 0) AS source_concept_id,
        code_target.value_as_concept_id,
        CASE
            WHEN source_event.value_type = 'allergy' THEN coalesce(code_target.allergy_table, 'observation')
            ELSE coalesce(code_target.target_table, source_event.default_table)
        END AS target_table,
        CASE
            WHEN source_event.value_type = 'allergy' THEN coalesce(code_target.allergy_rank, 1)
            ELSE coalesce(code_target.target_rank, 1)
        END AS target_rank
    FROM source_event
    LEFT JOIN code_target
        ON
            source_event.vocabulary_id = code_target.vocabulary_id
            AND source_event.code = code_target.code
)

SELECT
    routed.source_table,
    routed.row_id,
    routed.patient,
    routed.encounter,
    routed.start_at,
    routed.end_at,
    routed.code,
    routed.vocabulary_id,
    routed.value_text,
    routed.value_type,
    routed.units,
    routed.severity,
    routed.quantity,
    routed.udi,
    routed.ordinal,
    routed.code_table,
    routed.concept_id,
    routed.source_concept_id,
    routed.value_as_concept_id,
    routed.target_table,
    routed.target_rank,
    coalesce(fixed_concept.concept_id, 0) AS type_concept_id,
    -- the first target keeps the source row's row_id; each further one has an id kept by this key
    CASE
        WHEN routed.target_rank > 1
            THEN content_key(
                routed.target_table,
                routed.row_id::text,
                routed.concept_id::text,
                routed.value_as_concept_id::text
            )
    END AS id_key
FROM routed
LEFT JOIN fixed_concept
    ON routed.fixed_type_id = fixed_concept.fixed_concept_id
