-- Patients by whether their person has an observation period.
-- grain: one row per outcome
-- counts: patients
-- source: docs/mapping/observation_period.md (a person without an event has no period)
SELECT
    CASE
        WHEN person.person_id IS NULL THEN 'unexplained'
        WHEN observation_period.observation_period_id IS NOT NULL THEN 'person'
        WHEN
            EXISTS (SELECT FROM encounters WHERE encounters.patient = counted.id)
            OR EXISTS (SELECT FROM conditions WHERE conditions.patient = counted.id)
            OR EXISTS (SELECT FROM medications WHERE medications.patient = counted.id)
            OR EXISTS (SELECT FROM procedures WHERE procedures.patient = counted.id)
            OR EXISTS (SELECT FROM immunizations WHERE immunizations.patient = counted.id)
            OR EXISTS (SELECT FROM observations WHERE observations.patient = counted.id)
            OR EXISTS (SELECT FROM devices WHERE devices.patient = counted.id)
            OR EXISTS (SELECT FROM supplies WHERE supplies.patient = counted.id)
            OR EXISTS (SELECT FROM allergies WHERE allergies.patient = counted.id)
            OR EXISTS (SELECT FROM careplans WHERE careplans.patient = counted.id)
            OR EXISTS (SELECT FROM imaging_studies WHERE imaging_studies.patient = counted.id)
            THEN 'unexplained'
        ELSE 'person_without_event'
    END AS outcome,
    count(*) AS row_count
FROM counted
LEFT JOIN person
    ON counted.row_id = person.person_id
LEFT JOIN observation_period
    ON counted.row_id = observation_period.observation_period_id
GROUP BY outcome
