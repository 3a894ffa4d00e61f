-- Persons whose charges do not add up to those of the claims, to the cent.
-- grain: one row per person
-- reads: claims_transactions (patientid, type, amount)
-- reads: cost (total_charge)
-- reads: patients (id)
-- balance: claims_transactions (amount where type = 'CHARGE')
-- balance: cost (total_charge)
-- scope: person
-- denominator: patients
-- severity: warn
-- source: docs/mapping/cost.md
WITH charged AS (
    SELECT
        patientid,
        sum(amount) AS amount
    FROM claims_transactions
    WHERE type = 'CHARGE'
    GROUP BY patientid
),

expected AS (
    SELECT
        patients.row_id AS person_id,
        charged.amount
    FROM charged
    INNER JOIN patients
        ON charged.patientid = patients.id
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
