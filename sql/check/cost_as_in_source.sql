-- Persons whose costs, by domain, do not add up to those of their encounters, medications, immunizations and procedures, to the cent.
-- grain: one row per person and domain
-- reads: encounters (patient, base_encounter_cost)
-- reads: medications (patient, totalcost)
-- reads: immunizations (patient, base_cost)
-- reads: procedures (patient, base_cost)
-- reads: cost (cost_domain_id, total_cost)
-- looks up: patients
-- scope: person
-- denominator: (SELECT DISTINCT patient FROM encounters) AS seen
-- severity: fail
-- source: docs/mapping/cost.md
WITH priced AS (
    SELECT
        patient,
        'Visit' AS domain_id,
        base_encounter_cost AS amount
    FROM encounters
    UNION ALL
    SELECT
        patient,
        'Drug',
        totalcost
    FROM medications
    UNION ALL
    SELECT
        patient,
        'Drug',
        base_cost
    FROM immunizations
    UNION ALL
    SELECT
        patient,
        'Procedure',
        base_cost
    FROM procedures
),

owed AS (
    SELECT
        patient,
        domain_id,
        sum(amount) AS amount,
        count(*) AS rows
    FROM priced
    GROUP BY
        patient,
        domain_id
),

expected AS (
    SELECT
        patients.row_id AS person_id,
        owed.domain_id,
        owed.amount,
        owed.rows
    FROM owed
    INNER JOIN patients
        ON owed.patient = patients.id
),

recorded AS (
    SELECT
        person_id,
        cost_domain_id AS domain_id,
        sum(total_cost) AS amount,
        count(*) AS rows
    FROM cost
    GROUP BY
        person_id,
        cost_domain_id
)

SELECT coalesce(expected.person_id, recorded.person_id) AS person_id
FROM expected
FULL JOIN recorded
    ON
        expected.person_id = recorded.person_id
        AND expected.domain_id = recorded.domain_id
WHERE
    expected.amount IS DISTINCT FROM recorded.amount
    OR expected.rows IS DISTINCT FROM recorded.rows
