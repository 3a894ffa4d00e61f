-- Patients without a person, persons without a patient, and persons whose birth, gender, race or ethnicity is not the patient's.
-- grain: one row per patient or person
-- reads: patients (id, birthdate, gender, race, ethnicity)
-- reads: person
-- scope: row
-- denominator: patients
-- severity: fail
-- source: docs/mapping/person.md
SELECT coalesce(patients.row_id, person.person_id) AS person_id
FROM patients
FULL JOIN person
    ON patients.row_id = person.person_id
WHERE
    patients.row_id IS NULL
    OR person.person_id IS NULL
    OR person.person_source_value IS DISTINCT FROM patients.id::text
    OR person.birth_datetime::date IS DISTINCT FROM patients.birthdate::date
    OR person.year_of_birth IS DISTINCT FROM extract(YEAR FROM patients.birthdate)
    OR person.month_of_birth IS DISTINCT FROM extract(MONTH FROM patients.birthdate)
    OR person.day_of_birth IS DISTINCT FROM extract(DAY FROM patients.birthdate)
    OR person.gender_source_value IS DISTINCT FROM left(patients.gender, 50)
    OR person.race_source_value IS DISTINCT FROM left(patients.race, 50)
    OR person.ethnicity_source_value IS DISTINCT FROM left(patients.ethnicity, 50)
