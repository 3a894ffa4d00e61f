-- The span between a person's first and last recorded event.
-- grain: one row per person who has an event
-- reads: patients (id, deathdate)
-- reads: event_date
-- writes: observation_period
-- source: CDM 5.4 specification, OBSERVATION_PERIOD; docs/mapping/observation_period.md
WITH event_span AS (
    SELECT
        patient,
        min(first_date) AS first_date,
        max(last_date) AS last_date
    FROM event_date
    GROUP BY patient
)

INSERT INTO observation_period (
    observation_period_id,
    person_id,
    observation_period_start_date,
    observation_period_end_date,
    period_type_concept_id
)
SELECT
    patients.row_id AS observation_period_id,
    patients.row_id AS person_id,
    -- Nobody is observed after death; who has later events alone (a certificate) is observed on the day of death.
    least(event_span.first_date, patients.deathdate::date) AS observation_period_start_date,
    least(event_span.last_date, patients.deathdate::date) AS observation_period_end_date,
    (
        SELECT fixed_concept.concept_id FROM fixed_concept
        WHERE fixed_concept.fixed_concept_id = 32882 -- Standard algorithm from EHR
    ) AS period_type_concept_id
FROM patients
INNER JOIN event_span
    ON patients.id = event_span.patient;
