-- Encounters, medications, immunizations and procedures without a cost, costs without one, and those whose person, domain or amount is not its.
-- grain: one row per source row or cost
-- reads: encounters (patient, base_encounter_cost)
-- reads: medications (patient, totalcost)
-- reads: immunizations (patient, base_cost)
-- reads: procedures (patient, base_cost)
-- reads: cost (cost_id, cost_domain_id, total_cost)
-- looks up: patients
-- scope: row
-- denominator: (SELECT row_id FROM encounters UNION ALL SELECT row_id FROM medications UNION ALL SELECT row_id FROM immunizations
-- denominator: UNION ALL SELECT row_id FROM procedures) AS priced
-- severity: fail
-- source: docs/mapping/cost.md
WITH priced AS (
    SELECT
        row_id,
        patient,
        'Visit' AS domain_id,
        base_encounter_cost AS amount
    FROM encounters
    UNION ALL
    SELECT
        row_id,
        patient,
        'Drug',
        totalcost
    FROM medications
    UNION ALL
    SELECT
        row_id,
        patient,
        'Drug',
        base_cost
    FROM immunizations
    UNION ALL
    SELECT
        row_id,
        patient,
        'Procedure',
        base_cost
    FROM procedures
)

SELECT coalesce(cost.cost_id, priced.row_id) AS cost_id
FROM priced
FULL JOIN cost
    ON priced.row_id = cost.cost_id
LEFT JOIN patients
    ON cost.person_id = patients.row_id
WHERE
    cost.cost_id IS NULL
    OR priced.row_id IS NULL
    OR patients.id IS DISTINCT FROM priced.patient
    OR cost.cost_domain_id IS DISTINCT FROM priced.domain_id
    OR cost.total_cost IS DISTINCT FROM priced.amount
