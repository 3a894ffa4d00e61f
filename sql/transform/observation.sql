-- Observations of a person: source rows whose standard concept is of no other domain, allergies and their reactions, body sites of imaging.
-- unit: encounter
-- grain: one row per source row and Observation target, one per reaction of an allergy, one per imaging study and body site
-- reads: patients (id)
-- reads: clinical_event
-- reads: imaging_study
-- reads: allergies (reaction1, description1, severity1, reaction2, description2, severity2)
-- reads: encounters (id, patient)
-- reads: visit_detail (visit_detail_id, visit_occurrence_id, provider_id)
-- writes: observation
-- source: CDM 5.4 specification, OBSERVATION; docs/mapping/observation.md
CREATE TEMP TABLE severity ON COMMIT DROP AS
WITH severity_code (severity, code) AS (
    VALUES
    ('MILD', '255604002'),
    ('MODERATE', '6736007'),
    ('SEVERE', '24484000')
)

SELECT
    severity_code.severity,
    coalesce(code_map.concept_id, 0) AS concept_id
FROM severity_code
LEFT JOIN code_map
    ON
        severity_code.code = code_map.code
        AND code_map.vocabulary_id = 'SNOMED'
        AND code_map.ordinal = 1;

WITH event AS (
    SELECT
        *,
        value_type = 'numeric'
        AND length(value_text) <= 100
        AND value_text ~ '^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?0*[0-9]{1,2})?$' AS is_number,
        -- a substance is not an observation: its concept becomes the value of the allergy to it
        coalesce(
            value_type = 'allergy' AND code_table NOT IN ('observation', 'condition_occurrence'),
            FALSE
        ) AS is_substance
    FROM clinical_event
    WHERE target_table = 'observation'
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

INSERT INTO observation (
    observation_id,
    person_id,
    observation_concept_id,
    observation_date,
    observation_datetime,
    observation_type_concept_id,
    value_as_number,
    value_as_string,
    value_as_concept_id,
    qualifier_concept_id,
    unit_concept_id,
    provider_id,
    visit_occurrence_id,
    visit_detail_id,
    observation_source_value,
    observation_source_concept_id,
    unit_source_value,
    qualifier_source_value,
    value_source_value
)
SELECT
    CASE
        WHEN event.target_rank = 1 THEN event.row_id
        ELSE (
            SELECT content_id.id FROM content_id
            WHERE content_id.id_key = event.id_key
        )
    END AS observation_id,
    patients.row_id AS person_id,
    CASE
        WHEN event.is_substance
            THEN coalesce(
                (
                    SELECT code_map.concept_id FROM code_map
                    WHERE
                        code_map.vocabulary_id = 'SNOMED'
                        AND code_map.code = '416098002' -- Allergy to drug
                        AND code_map.target_table = 'observation'
                        AND code_map.ordinal = 1
                        AND event.code_table = 'drug_exposure'
                ),
                (
                    SELECT code_map.concept_id FROM code_map
                    WHERE
                        code_map.vocabulary_id = 'SNOMED'
                        AND code_map.code = '419199007' -- Allergy to substance
                        AND code_map.target_table = 'observation'
                        AND code_map.ordinal = 1
                ),
                0
            )
        ELSE event.concept_id
    END AS observation_concept_id,
    event.start_at::date AS observation_date,
    event.start_at AS observation_datetime,
    event.type_concept_id AS observation_type_concept_id,
    CASE WHEN event.is_number THEN event.value_text::numeric END AS value_as_number,
    CASE WHEN event.is_number IS NOT TRUE THEN left(event.value_text, 60) END AS value_as_string,
    CASE
        WHEN event.is_substance THEN event.concept_id
        ELSE coalesce(
            event.value_as_concept_id,
            answer_map.concept_id,
            CASE WHEN event.value_type = 'text' AND event.value_text IS NOT NULL THEN 0 END
        )
    END AS value_as_concept_id,
    CASE WHEN event.severity IS NOT NULL THEN coalesce(severity.concept_id, 0) END AS qualifier_concept_id,
    CASE WHEN event.units IS NOT NULL THEN coalesce(unit_map.unit_concept_id, 0) END AS unit_concept_id,
    visit.provider_id,
    visit.visit_occurrence_id,
    visit.visit_detail_id,
    left(event.code, 50) AS observation_source_value,
    event.source_concept_id AS observation_source_concept_id,
    left(event.units, 50) AS unit_source_value,
    left(event.severity, 50) AS qualifier_source_value,
    left(event.value_text, 50) AS value_source_value
FROM event
INNER JOIN patients
    ON event.patient = patients.id
LEFT JOIN visit
    ON
        event.patient = visit.patient
        AND event.encounter = visit.encounter
LEFT JOIN unit_map
    ON event.units = unit_map.unit_source_value
LEFT JOIN answer_map
    ON
        event.value_text = answer_map.value_text
        AND event.value_type = 'text'
LEFT JOIN severity
    ON upper(event.severity) = severity.severity;

CREATE TEMP TABLE allergy_reaction ON COMMIT DROP AS
WITH allergy AS (
    SELECT
        row_id,
        patient,
        encounter,
        start_at,
        target_table,
        type_concept_id
    FROM clinical_event
    WHERE
        source_table = 'allergies'
        AND target_table IN ('observation', 'condition_occurrence') -- where all of them go; a full load looks into no other part
        AND (ordinal = 1 OR ordinal IS NULL)
)

SELECT
    allergy.row_id AS allergy_row_id,
    allergy.patient,
    allergy.encounter,
    allergy.start_at,
    allergy.target_table,
    allergy.type_concept_id,
    reaction.code,
    reaction.description,
    reaction.severity,
    content_key('observation', allergy.row_id::text, 'reaction', reaction.number::text) AS id_key
FROM allergy
INNER JOIN allergies
    ON allergy.row_id = allergies.row_id
CROSS JOIN
    LATERAL (
        VALUES
        (1, allergies.reaction1, allergies.description1, allergies.severity1),
        (2, allergies.reaction2, allergies.description2, allergies.severity2)
    ) AS reaction (number, code, description, severity)
WHERE coalesce(reaction.code, reaction.description, reaction.severity) IS NOT NULL;

INSERT INTO new_content_id (id_key)
SELECT allergy_reaction.id_key
FROM allergy_reaction
WHERE NOT EXISTS (
    SELECT
    FROM content_id
    WHERE content_id.id_key = allergy_reaction.id_key
);

WITH visit AS (
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

INSERT INTO observation (
    observation_id,
    person_id,
    observation_concept_id,
    observation_date,
    observation_datetime,
    observation_type_concept_id,
    value_as_string,
    value_as_concept_id,
    provider_id,
    visit_occurrence_id,
    visit_detail_id,
    observation_source_value,
    observation_source_concept_id,
    qualifier_source_value,
    value_source_value,
    observation_event_id,
    obs_event_field_concept_id
)
SELECT
    content_id.id AS observation_id,
    patients.row_id AS person_id,
    coalesce(code_map.concept_id, 0) AS observation_concept_id,
    allergy_reaction.start_at::date AS observation_date,
    allergy_reaction.start_at AS observation_datetime,
    allergy_reaction.type_concept_id AS observation_type_concept_id,
    left(allergy_reaction.severity, 60) AS value_as_string,
    CASE WHEN allergy_reaction.severity IS NOT NULL THEN coalesce(severity.concept_id, 0) END AS value_as_concept_id,
    visit.provider_id,
    visit.visit_occurrence_id,
    visit.visit_detail_id,
    left(coalesce(allergy_reaction.code, allergy_reaction.description), 50) AS observation_source_value,
    coalesce(code_map.source_concept_id, 0) AS observation_source_concept_id,
    left(allergy_reaction.description, 50) AS qualifier_source_value,
    left(allergy_reaction.severity, 50) AS value_source_value,
    allergy_reaction.allergy_row_id AS observation_event_id,
    CASE
        WHEN allergy_reaction.target_table = 'condition_occurrence'
            THEN (
                SELECT fixed_concept.concept_id FROM fixed_concept
                WHERE fixed_concept.fixed_concept_id = 1147127 -- condition_occurrence.condition_occurrence_id
            )
        ELSE (
            SELECT fixed_concept.concept_id FROM fixed_concept
            WHERE fixed_concept.fixed_concept_id = 1147165 -- observation.observation_id
        )
    END AS obs_event_field_concept_id
FROM allergy_reaction
INNER JOIN content_id
    ON allergy_reaction.id_key = content_id.id_key
INNER JOIN patients
    ON allergy_reaction.patient = patients.id
LEFT JOIN visit
    ON
        allergy_reaction.patient = visit.patient
        AND allergy_reaction.encounter = visit.encounter
LEFT JOIN code_map
    ON
        allergy_reaction.code = code_map.code
        AND code_map.vocabulary_id = 'SNOMED'
        AND code_map.ordinal = 1
LEFT JOIN severity
    ON upper(allergy_reaction.severity) = severity.severity;

WITH visit AS (
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

INSERT INTO observation (
    observation_id,
    person_id,
    observation_concept_id,
    observation_date,
    observation_datetime,
    observation_type_concept_id,
    value_as_string,
    value_as_concept_id,
    provider_id,
    visit_occurrence_id,
    visit_detail_id,
    observation_source_value,
    observation_source_concept_id,
    value_source_value
)
SELECT
    imaging_study.row_id AS observation_id,
    patients.row_id AS person_id,
    coalesce(
        (
            SELECT code_map.concept_id FROM code_map
            WHERE
                code_map.vocabulary_id = 'LOINC'
                AND code_map.code = '39111-0' -- Body site
                AND code_map.target_table = 'observation'
                AND code_map.ordinal = 1
        ),
        0
    ) AS observation_concept_id,
    imaging_study.start_at::date AS observation_date,
    imaging_study.start_at AS observation_datetime,
    CASE
        WHEN imaging_study.encounter IS NULL
            THEN (
                SELECT fixed_concept.concept_id FROM fixed_concept
                WHERE fixed_concept.fixed_concept_id = 32817 -- EHR
            )
        ELSE (
            SELECT fixed_concept.concept_id FROM fixed_concept
            WHERE fixed_concept.fixed_concept_id = 32827 -- EHR encounter record
        )
    END AS observation_type_concept_id,
    left(imaging_study.bodysite_description, 60) AS value_as_string,
    coalesce(body_site.concept_id, 0) AS value_as_concept_id,
    visit.provider_id,
    visit.visit_occurrence_id,
    visit.visit_detail_id,
    left(imaging_study.bodysite_code, 50) AS observation_source_value,
    coalesce(body_site.source_concept_id, 0) AS observation_source_concept_id,
    left(imaging_study.bodysite_code, 50) AS value_source_value
FROM imaging_study
INNER JOIN patients
    ON imaging_study.patient = patients.id
LEFT JOIN visit
    ON
        imaging_study.patient = visit.patient
        AND imaging_study.encounter = visit.encounter
LEFT JOIN code_map AS body_site
    ON
        imaging_study.bodysite_code = body_site.code
        AND body_site.vocabulary_id = 'SNOMED'
        AND body_site.ordinal = 1
WHERE imaging_study.bodysite_code IS NOT NULL;
