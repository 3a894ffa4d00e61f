-- Every distinct address of people, organizations and providers.
-- unit: place
-- grain: one row per distinct (address, city, state, zip, county, latitude, longitude)
-- reads: place
-- writes: location
-- source: CDM 5.4 specification, LOCATION; docs/mapping/location.md
CREATE TEMP TABLE distinct_place ON COMMIT DROP AS
SELECT DISTINCT
    id_key,
    address_1,
    city,
    state,
    zip,
    county,
    latitude,
    longitude,
    is_in_usa
FROM place
WHERE id_key IS NOT NULL;

INSERT INTO new_content_id (id_key)
SELECT distinct_place.id_key
FROM distinct_place
WHERE NOT EXISTS (
    SELECT
    FROM content_id
    WHERE content_id.id_key = distinct_place.id_key
);

INSERT INTO location (
    location_id,
    address_1,
    city,
    state,
    zip,
    county,
    location_source_value,
    country_concept_id,
    latitude,
    longitude
)
SELECT
    content_id.id AS location_id,
    distinct_place.address_1,
    distinct_place.city,
    distinct_place.state,
    distinct_place.zip,
    distinct_place.county,
    nullif(left(concat_ws(', ', distinct_place.address_1, distinct_place.city, distinct_place.state, distinct_place.zip), 50), '')
        AS location_source_value,
    CASE
        WHEN distinct_place.is_in_usa
            THEN (
                SELECT fixed_concept.concept_id FROM fixed_concept
                WHERE fixed_concept.fixed_concept_id = 42046186 -- United States of America
            )
    END AS country_concept_id,
    distinct_place.latitude,
    distinct_place.longitude
FROM distinct_place
INNER JOIN content_id
    ON distinct_place.id_key = content_id.id_key;
