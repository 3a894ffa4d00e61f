-- First and last event date of every person in each source table that records events.
-- grain: one row per source table and person
-- reads: encounters (start, stop, patient)
-- reads: conditions (start, stop, patient)
-- reads: medications (start, stop, patient)
-- reads: procedures (start, stop, patient)
-- reads: immunizations (date, patient)
-- reads: observations (date, patient)
-- reads: devices (start, stop, patient)
-- reads: supplies (date, patient)
-- reads: allergies (start, stop, patient)
-- reads: careplans (start, stop, patient)
-- reads: imaging_studies (date, patient)
-- source: CDM 5.4 specification, OBSERVATION_PERIOD (first to last event); docs/mapping/observation_period.md
SELECT
    'encounters' AS source_table,
    patient,
    min(start)::date AS first_date,
    max(greatest(start, stop))::date AS last_date
FROM encounters
GROUP BY patient
UNION ALL
SELECT
    'conditions' AS source_table,
    patient,
    min(start)::date AS first_date,
    max(greatest(start, stop))::date AS last_date
FROM conditions
GROUP BY patient
UNION ALL
SELECT
    'medications' AS source_table,
    patient,
    min(start)::date AS first_date,
    max(greatest(start, stop))::date AS last_date
FROM medications
GROUP BY patient
UNION ALL
SELECT
    'procedures' AS source_table,
    patient,
    min(start)::date AS first_date,
    max(greatest(start, stop))::date AS last_date
FROM procedures
GROUP BY patient
UNION ALL
SELECT
    'immunizations' AS source_table,
    patient,
    min(date)::date AS first_date,
    max(date)::date AS last_date
FROM immunizations
GROUP BY patient
UNION ALL
SELECT
    'observations' AS source_table,
    patient,
    min(date)::date AS first_date,
    max(date)::date AS last_date
FROM observations
GROUP BY patient
UNION ALL
SELECT
    'devices' AS source_table,
    patient,
    min(start)::date AS first_date,
    max(greatest(start, stop))::date AS last_date
FROM devices
GROUP BY patient
UNION ALL
SELECT
    'supplies' AS source_table,
    patient,
    min(date)::date AS first_date,
    max(date)::date AS last_date
FROM supplies
GROUP BY patient
UNION ALL
SELECT
    'allergies' AS source_table,
    patient,
    min(start)::date AS first_date,
    max(greatest(start, stop))::date AS last_date
FROM allergies
GROUP BY patient
UNION ALL
SELECT
    'careplans' AS source_table,
    patient,
    min(start)::date AS first_date,
    max(greatest(start, stop))::date AS last_date
FROM careplans
GROUP BY patient
UNION ALL
SELECT
    'imaging_studies' AS source_table,
    patient,
    min(date)::date AS first_date,
    max(date)::date AS last_date
FROM imaging_studies
GROUP BY patient
