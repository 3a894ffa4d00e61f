-- The organizations that give care.
-- unit: organizations
-- grain: one row per organization Id; its attributes from the Id's first row in content order
-- reads: organizations (id, name, address, city, state, zip, lat, lon)
-- reads: place
-- reads: location (location_id)
-- writes: care_site
-- source: CDM 5.4 specification, CARE_SITE; docs/mapping/care_site.md
WITH organization AS (
    -- The order holds every column that is used: rows that still tie are alike.
    SELECT DISTINCT ON (id)
        id,
        row_id,
        name,
        min(row_id) OVER (PARTITION BY id) AS care_site_id
    FROM organizations
    ORDER BY
        id,
        name COLLATE "C",
        address COLLATE "C",
        city COLLATE "C",
        state COLLATE "C",
        zip COLLATE "C",
        lat,
        lon
)

INSERT INTO care_site (
    care_site_id,
    care_site_name,
    place_of_service_concept_id,
    location_id,
    care_site_source_value,
    place_of_service_source_value
)
SELECT
    organization.care_site_id,
    left(organization.name, 255) AS care_site_name,
    0 AS place_of_service_concept_id,
    location.location_id,
    organization.id::text AS care_site_source_value,
    NULL AS place_of_service_source_value
FROM organization
LEFT JOIN place
    ON
        organization.row_id = place.row_id
        AND place.source_table = 'organizations'
LEFT JOIN content_id
    ON place.id_key = content_id.id_key
LEFT JOIN location
    ON content_id.id = location.location_id;
