-- Persons with a claim line: for them payments are told by claim transactions, for others by what the payer covers.
-- grain: one row per person with a row of claims_transactions that is no transfer out
-- reads: patients (id)
-- reads: claims_transactions (patientid, type)
-- source: docs/mapping/cost.md
SELECT patients.id AS patient
FROM patients
WHERE
    -- one index probe for each person, however many lines there are
    (
        SELECT TRUE
        FROM claims_transactions
        WHERE
            claims_transactions.patientid = patients.id
            AND claims_transactions.type <> 'TRANSFEROUT'
        LIMIT 1 -- noqa: AM09, all of them say the same
    )
