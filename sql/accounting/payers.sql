-- Payers: the CDM has no table of them; of each Id one row gives name and type to the periods that name it.
-- grain: one row per outcome
-- counts: payers
-- source: docs/mapping/payer_plan_period.md
WITH numbered AS (
    SELECT row_number() OVER (PARTITION BY id ORDER BY row_id) AS place
    FROM counted
)

SELECT
    CASE WHEN place = 1 THEN 'payer_of_periods' ELSE 'repeated_id' END AS outcome,
    count(*) AS row_count
FROM numbered
GROUP BY outcome
