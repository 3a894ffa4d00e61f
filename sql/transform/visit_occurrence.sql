-- Visits: hospital stays with the encounters that belong to them, and every other encounter by itself.
-- grain: one row per visit; its id is that of its first encounter by (start, stop, Id)
-- reads: encounter_visit
-- reads: encounters (encounterclass)
-- reads: visit_detail (visit_detail_id, provider_id, care_site_id)
-- reads: patients (id)
-- writes: visit_occurrence
-- source: CDM 5.4 specification, VISIT_OCCURRENCE; OHDSI convention on inpatient stays; docs/mapping/visit_occurrence.md
WITH membership AS MATERIALIZED (
    SELECT
        row_id,
        id,
        patient,
        start_at,
        end_at,
        is_in_stay,
        is_inpatient,
        is_admitting_emergency,
        visit_concept_id,
        visit_row_id
    FROM encounter_visit
),

visit_class AS (
    -- A stay is named by its first inpatient encounter, any other visit by its only encounter.
    SELECT DISTINCT ON (membership.visit_row_id)
        membership.visit_row_id,
        encounters.encounterclass,
        membership.visit_concept_id
    FROM membership
    INNER JOIN encounters
        ON membership.row_id = encounters.row_id
    WHERE
        membership.is_inpatient
        OR NOT membership.is_in_stay
    ORDER BY
        membership.visit_row_id,
        membership.start_at,
        membership.end_at,
        membership.id
),

visit AS (
    SELECT
        visit_row_id,
        patient,
        min(start_at) AS start_at,
        max(end_at) AS end_at,
        bool_or(is_admitting_emergency) AS has_admitting_emergency
    FROM membership
    GROUP BY
        visit_row_id,
        patient
),

visit_sequence AS (
    SELECT
        visit.visit_row_id,
        visit.patient,
        visit.start_at,
        visit.end_at,
        visit.has_admitting_emergency,
        lag(visit.visit_row_id) OVER (
            PARTITION BY visit.patient
            ORDER BY visit.start_at, visit.end_at, first_encounter.id
        ) AS preceding_row_id
    FROM visit
    INNER JOIN membership AS first_encounter
        ON visit.visit_row_id = first_encounter.row_id
)

INSERT INTO visit_occurrence (
    visit_occurrence_id,
    person_id,
    visit_concept_id,
    visit_start_date,
    visit_start_datetime,
    visit_end_date,
    visit_end_datetime,
    visit_type_concept_id,
    provider_id,
    care_site_id,
    visit_source_value,
    visit_source_concept_id,
    admitted_from_concept_id,
    admitted_from_source_value,
    discharged_to_concept_id,
    discharged_to_source_value,
    preceding_visit_occurrence_id
)
SELECT
    visit_sequence.visit_row_id AS visit_occurrence_id,
    patients.row_id AS person_id,
    CASE
        WHEN visit_sequence.has_admitting_emergency
            THEN (
                SELECT fixed_concept.concept_id FROM fixed_concept
                WHERE fixed_concept.fixed_concept_id = 262 -- Emergency Room and Inpatient Visit
            )
        ELSE visit_class.visit_concept_id
    END AS visit_concept_id,
    visit_sequence.start_at::date AS visit_start_date,
    visit_sequence.start_at AS visit_start_datetime,
    visit_sequence.end_at::date AS visit_end_date,
    visit_sequence.end_at AS visit_end_datetime,
    (
        SELECT fixed_concept.concept_id FROM fixed_concept
        WHERE fixed_concept.fixed_concept_id = 32827 -- EHR encounter record
    ) AS visit_type_concept_id,
    visit_detail.provider_id,
    visit_detail.care_site_id,
    left(visit_class.encounterclass, 50) AS visit_source_value,
    0 AS visit_source_concept_id,
    NULL AS admitted_from_concept_id,
    NULL AS admitted_from_source_value,
    NULL AS discharged_to_concept_id,
    NULL AS discharged_to_source_value,
    visit_sequence.preceding_row_id AS preceding_visit_occurrence_id
FROM visit_sequence
INNER JOIN visit_class
    ON visit_sequence.visit_row_id = visit_class.visit_row_id
INNER JOIN patients
    ON visit_sequence.patient = patients.id
LEFT JOIN visit_detail
    ON visit_sequence.visit_row_id = visit_detail.visit_detail_id;
