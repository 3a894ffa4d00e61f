-- Deaths that are missing, not in the source, on another day than the patient's own record gives, or there twice.
-- grain: one row per person
-- reads: patients (deathdate)
-- reads: death (person_id, death_date)
-- scope: row
-- denominator: patients
-- severity: fail
-- source: docs/mapping/death.md
WITH died AS (
    SELECT
        row_id,
        deathdate::date AS death_date
    FROM patients
    WHERE deathdate IS NOT NULL
),

recorded AS (
    SELECT
        person_id,
        min(death_date) AS death_date,
        count(*) AS deaths
    FROM death
    GROUP BY person_id
)

SELECT coalesce(died.row_id, recorded.person_id) AS person_id
FROM died
FULL JOIN recorded
    ON died.row_id = recorded.person_id
WHERE
    died.death_date IS DISTINCT FROM recorded.death_date
    OR recorded.deaths > 1
