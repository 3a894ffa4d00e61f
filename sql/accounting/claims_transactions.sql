-- Claim transactions by whether their amount counts in a row of cost, and if not, why.
-- grain: one row per outcome
-- counts: claims_transactions
-- source: docs/mapping/cost.md; sql/view/claim_line.sql
WITH line AS (
    SELECT
        counted.type,
        CASE WHEN counted.type = 'TRANSFERIN' THEN counted.transfertype END AS transferred_to,
        coalesce(
            counted.appointmentid,
            (
                SELECT claims.appointmentid
                FROM claims
                WHERE
                    claims.id = counted.claimid
                    AND claims.patientid = counted.patientid
            )
        ) IS NOT NULL AS has_encounter
    FROM counted
),

line_count AS (
    SELECT
        type,
        transferred_to,
        has_encounter,
        count(*) AS row_count
    FROM line
    GROUP BY
        type,
        transferred_to,
        has_encounter
)

SELECT
    CASE
        WHEN type = 'TRANSFEROUT' THEN 'transfer_out'
        WHEN NOT has_encounter THEN 'no_encounter'
        WHEN type IN ('CHARGE', 'PAYMENT') OR transferred_to = 'p' THEN 'cost'
        WHEN type = 'TRANSFERIN' THEN 'transfer_to_payer'
        ELSE 'no_amount_of_cost'
    END AS outcome,
    sum(row_count)::bigint AS row_count
FROM line_count
GROUP BY outcome
