-- The amounts of every claim transaction, sorted into charge, payment and what the person was billed.
-- grain: one row per row of claims_transactions but transfers out, whose amounts come back as transfers in
-- reads: claims_transactions (claimid, patientid, appointmentid, type, amount, method, fromdate, procedurecode, transfertype, payments, transfers)
-- source: Synthea CSV data dictionary, claims_transactions; docs/mapping/cost.md
SELECT
    patientid AS patient,
    appointmentid AS encounter,
    claimid,
    procedurecode AS code,
    fromdate AS start_at,
    -- a charge is a charge whoever pays it: there are as many items as charges
    CASE WHEN type = 'CHARGE' THEN type ELSE concat_ws(' ', type, method, transfertype) END AS line_kind,
    type = 'CHARGE' AS is_charge,
    CASE WHEN type = 'CHARGE' THEN amount END AS charge,
    CASE WHEN type = 'PAYMENT' THEN payments END AS paid,
    CASE WHEN type = 'PAYMENT' AND method = 'ECHECK' THEN payments END AS paid_by_payer,
    CASE WHEN type = 'PAYMENT' AND method = 'COPAY' THEN payments END AS copay,
    CASE
        WHEN transfertype = 'p' AND type = 'CHARGE' THEN amount
        WHEN transfertype = 'p' AND type = 'TRANSFERIN' THEN transfers
    END AS billed_to_patient
FROM claims_transactions
WHERE type <> 'TRANSFEROUT'
