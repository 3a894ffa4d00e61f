-- Claims: they have no row of their own; their amounts come into cost with their transactions.
-- grain: one row per outcome
-- counts: claims
-- source: docs/mapping/cost.md; docs/mapping/condition_occurrence.md (DIAGNOSIS1)
SELECT
    'claim_of_transactions' AS outcome,
    count(*) AS row_count
FROM counted
HAVING count(*) > 0
