-- Providers by whether they are the row that stands for their Id.
-- grain: one row per outcome
-- counts: providers
-- source: docs/mapping/provider.md (one provider per Id)
SELECT
    CASE
        WHEN provider.provider_id IS NOT NULL THEN 'provider'
        WHEN
            EXISTS (
                SELECT
                FROM providers AS twin
                INNER JOIN provider AS twin_provider
                    ON twin.row_id = twin_provider.provider_id
                WHERE twin.id = counted.id
            )
            THEN 'repeated_id'
        ELSE 'unexplained'
    END AS outcome,
    count(*) AS row_count
FROM counted
LEFT JOIN provider
    ON counted.row_id = provider.provider_id
GROUP BY outcome
