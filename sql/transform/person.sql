-- The people of the export.
-- grain: one row per row of patients
-- reads: patients (id, birthdate, gender, race, ethnicity)
-- reads: place
-- reads: location (location_id)
-- writes: person
-- source: CDM 5.4 specification, PERSON; docs/mapping/person.md
WITH gender (gender_code, fixed_concept_id) AS (
    VALUES
    ('m', 8507), -- MALE
    ('f', 8532) -- FEMALE
),

race (race_name, fixed_concept_id) AS (
    VALUES
    ('white', 8527), -- White
    ('black', 8516), -- Black or African American
    ('asian', 8515), -- Asian
    ('native', 8657), -- American Indian or Alaska Native
    ('hawaiian', 8557) -- Native Hawaiian or Other Pacific Islander
),

ethnicity (ethnicity_name, fixed_concept_id) AS (
    VALUES
    ('hispanic', 38003563), -- Hispanic or Latino
    ('nonhispanic', 38003564) -- Not Hispanic or Latino
)

INSERT INTO person (
    person_id,
    gender_concept_id,
    year_of_birth,
    month_of_birth,
    day_of_birth,
    birth_datetime,
    race_concept_id,
    ethnicity_concept_id,
    location_id,
    provider_id,
    care_site_id,
    person_source_value,
    gender_source_value,
    gender_source_concept_id,
    race_source_value,
    race_source_concept_id,
    ethnicity_source_value,
    ethnicity_source_concept_id
)
SELECT
    patients.row_id AS person_id,
    coalesce(gender_concept.concept_id, 0) AS gender_concept_id,
    extract(YEAR FROM patients.birthdate)::integer AS year_of_birth,
    extract(MONTH FROM patients.birthdate)::integer AS month_of_birth,
    extract(DAY FROM patients.birthdate)::integer AS day_of_birth,
    patients.birthdate::timestamp AS birth_datetime,
    coalesce(race_concept.concept_id, 0) AS race_concept_id,
    coalesce(ethnicity_concept.concept_id, 0) AS ethnicity_concept_id,
    location.location_id,
    NULL AS provider_id,
    NULL AS care_site_id,
    patients.id::text AS person_source_value,
    left(patients.gender, 50) AS gender_source_value,
    0 AS gender_source_concept_id,
    left(patients.race, 50) AS race_source_value,
    0 AS race_source_concept_id,
    left(patients.ethnicity, 50) AS ethnicity_source_value,
    0 AS ethnicity_source_concept_id
FROM patients
LEFT JOIN gender
    ON lower(patients.gender) = gender.gender_code
LEFT JOIN fixed_concept AS gender_concept
    ON gender.fixed_concept_id = gender_concept.fixed_concept_id
LEFT JOIN race
    ON lower(patients.race) = race.race_name
LEFT JOIN fixed_concept AS race_concept
    ON race.fixed_concept_id = race_concept.fixed_concept_id
LEFT JOIN ethnicity
    ON lower(patients.ethnicity) = ethnicity.ethnicity_name
LEFT JOIN fixed_concept AS ethnicity_concept
    ON ethnicity.fixed_concept_id = ethnicity_concept.fixed_concept_id
LEFT JOIN place
    ON
        patients.row_id = place.row_id
        AND place.source_table = 'patients'
LEFT JOIN content_id
    ON place.id_key = content_id.id_key
LEFT JOIN location
    ON content_id.id = location.location_id;
