-- Providers of the source without a row, rows without a provider of the source, and providers that are there twice.
-- grain: one row per provider Id or row
-- reads: providers (id)
-- reads: provider (provider_id, provider_source_value)
-- scope: whole
-- denominator: (SELECT DISTINCT id FROM providers) AS source_provider
-- severity: fail
-- source: docs/mapping/provider.md
WITH source_provider AS (
    SELECT
        id::text AS id,
        min(row_id) AS row_id
    FROM providers
    GROUP BY id
),

recorded AS (
    SELECT
        provider_source_value,
        min(provider_id) AS provider_id,
        count(*) AS providers
    FROM provider
    GROUP BY provider_source_value
)

SELECT coalesce(recorded.provider_id, source_provider.row_id) AS provider_id
FROM source_provider
FULL JOIN recorded
    ON source_provider.id = recorded.provider_source_value
WHERE
    source_provider.row_id IS DISTINCT FROM recorded.provider_id
    OR recorded.providers > 1
