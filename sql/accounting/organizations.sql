-- Organizations by whether they are the row that stands for their Id.
-- grain: one row per outcome
-- counts: organizations
-- source: docs/mapping/care_site.md (one care_site per Id)
SELECT
    CASE
        WHEN care_site.care_site_id IS NOT NULL THEN 'care_site'
        WHEN
            EXISTS (
                SELECT
                FROM organizations AS twin
                INNER JOIN care_site AS twin_care_site
                    ON twin.row_id = twin_care_site.care_site_id
                WHERE twin.id = counted.id
            )
            THEN 'repeated_id'
        ELSE 'unexplained'
    END AS outcome,
    count(*) AS row_count
FROM counted
LEFT JOIN care_site
    ON counted.row_id = care_site.care_site_id
GROUP BY outcome
