-- CDM tables without a row although the source has some that must lead to one.
-- grain: one row per such table, numbered in the order of the list
-- reads: patients (address, city, zip, county, lat, lon)
-- reads: encounters
-- reads: organizations
-- reads: providers
-- reads: person
-- reads: visit_occurrence
-- reads: visit_detail
-- reads: observation_period
-- reads: care_site
-- reads: provider
-- reads: location
-- reads: cdm_source
-- scope: whole
-- denominator: generate_series(1, 8) AS expected
-- severity: fail
-- source: docs/mapping/README.md
WITH expected (place, is_due, is_there) AS (
    VALUES
    (1, EXISTS (SELECT FROM patients), EXISTS (SELECT FROM person)),
    (2, EXISTS (SELECT FROM encounters), EXISTS (SELECT FROM visit_occurrence)),
    (3, EXISTS (SELECT FROM encounters), EXISTS (SELECT FROM visit_detail)),
    (4, EXISTS (SELECT FROM encounters), EXISTS (SELECT FROM observation_period)),
    (5, EXISTS (SELECT FROM organizations), EXISTS (SELECT FROM care_site)),
    (6, EXISTS (SELECT FROM providers), EXISTS (SELECT FROM provider)),
    (
        7,
        -- nobody's address may be told
        EXISTS (SELECT FROM patients WHERE num_nonnulls(address, city, zip, county, lat, lon) > 0),
        EXISTS (SELECT FROM location)
    ),
    (8, TRUE, EXISTS (SELECT FROM cdm_source))
)

SELECT place
FROM expected
WHERE
    is_due
    AND NOT is_there
