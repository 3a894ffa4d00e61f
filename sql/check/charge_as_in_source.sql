-- Persons whose charges do not add up to those of the claims, or without these to what encounters and medications came to, to the cent.
-- grain: one row per person
-- reads: claims_transactions (patientid, type, amount)
-- reads: cost (total_charge)
-- reads: patients (id)
-- looks up: encounters
-- looks up: medications
-- balance: claims_transactions (amount where type = 'CHARGE')
-- balance: cost (total_charge)
-- scope: person
-- denominator: patients
-- severity: warn
-- source: docs/mapping/cost.md
WITH charged AS (
    SELECT
        patientid AS patient,
        sum(amount) FILTER (WHERE type = 'CHARGE') AS amount
    FROM claims_transactions
    WHERE type <> 'TRANSFEROUT'
    GROUP BY patientid
),

-- a person without claim lines is charged what the encounters' claims and the medications came to
billed AS (
    SELECT
        patient,
        total_claim_cost AS amount
    FROM encounters
    UNION ALL
    SELECT
        patient,
        totalcost
    FROM medications
),

owed AS (
    SELECT
        billed.patient,
        sum(billed.amount) AS amount
    FROM billed
    LEFT JOIN charged
        ON billed.patient = charged.patient
    WHERE charged.patient IS NULL
    GROUP BY billed.patient
    UNION ALL
    SELECT
        patient,
        amount
    FROM charged
),

expected AS (
    SELECT
        patients.row_id AS person_id,
        owed.amount
    FROM owed
    INNER JOIN patients
        ON owed.patient = patients.id
),

recorded AS (
    SELECT
        person_id,
        sum(total_charge) AS amount
    FROM cost
    GROUP BY person_id
)

SELECT coalesce(expected.person_id, recorded.person_id) AS person_id
FROM expected
FULL JOIN recorded
    ON expected.person_id = recorded.person_id
WHERE coalesce(expected.amount, 0) <> coalesce(recorded.amount, 0)
