-- Organizations without a care site, care sites without an organization, and care sites that are there twice.
-- grain: one row per organization Id or care site
-- reads: organizations (id)
-- reads: care_site (care_site_id, care_site_source_value)
-- scope: whole
-- denominator: (SELECT DISTINCT id FROM organizations) AS organization
-- severity: fail
-- source: docs/mapping/care_site.md
WITH organization AS (
    SELECT
        id::text AS id,
        min(row_id) AS row_id
    FROM organizations
    GROUP BY id
),

site AS (
    SELECT
        care_site_source_value,
        min(care_site_id) AS care_site_id,
        count(*) AS sites
    FROM care_site
    GROUP BY care_site_source_value
)

SELECT coalesce(site.care_site_id, organization.row_id) AS care_site_id
FROM organization
FULL JOIN site
    ON organization.id = site.care_site_source_value
WHERE
    organization.row_id IS DISTINCT FROM site.care_site_id
    OR site.sites > 1
