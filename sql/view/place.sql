-- The postal place of every patient, organization and provider, cut to the CDM's columns, with the key of its location_id.
-- grain: one row per row of patients, organizations and providers
-- reads: patients (address, city, state, county, zip, lat, lon)
-- reads: organizations (address, city, state, zip, lat, lon)
-- reads: providers (address, city, state, zip, lat, lon)
-- source: CDM 5.4 specification, LOCATION (each location once; STATE two letters); docs/mapping/location.md
WITH us_state (state_name, state_code) AS (
    VALUES
    ('ALABAMA', 'AL'), ('ALASKA', 'AK'), ('ARIZONA', 'AZ'), ('ARKANSAS', 'AR'), ('CALIFORNIA', 'CA'), ('COLORADO', 'CO'),
    ('CONNECTICUT', 'CT'), ('DELAWARE', 'DE'), ('DISTRICT OF COLUMBIA', 'DC'), ('FLORIDA', 'FL'), ('GEORGIA', 'GA'),
    ('HAWAII', 'HI'), ('IDAHO', 'ID'), ('ILLINOIS', 'IL'), ('INDIANA', 'IN'), ('IOWA', 'IA'), ('KANSAS', 'KS'),
    ('KENTUCKY', 'KY'), ('LOUISIANA', 'LA'), ('MAINE', 'ME'), ('MARYLAND', 'MD'), ('MASSACHUSETTS', 'MA'),
    ('MICHIGAN', 'MI'), ('MINNESOTA', 'MN'), ('MISSISSIPPI', 'MS'), ('MISSOURI', 'MO'), ('MONTANA', 'MT'),
    ('NEBRASKA', 'NE'), ('NEVADA', 'NV'), ('NEW HAMPSHIRE', 'NH'), ('NEW JERSEY', 'NJ'), ('NEW MEXICO', 'NM'),
    ('NEW YORK', 'NY'), ('NORTH CAROLINA', 'NC'), ('NORTH DAKOTA', 'ND'), ('OHIO', 'OH'), ('OKLAHOMA', 'OK'),
    ('OREGON', 'OR'), ('PENNSYLVANIA', 'PA'), ('PUERTO RICO', 'PR'), ('RHODE ISLAND', 'RI'), ('SOUTH CAROLINA', 'SC'),
    ('SOUTH DAKOTA', 'SD'), ('TENNESSEE', 'TN'), ('TEXAS', 'TX'), ('UTAH', 'UT'), ('VERMONT', 'VT'), ('VIRGINIA', 'VA'),
    ('WASHINGTON', 'WA'), ('WEST VIRGINIA', 'WV'), ('WISCONSIN', 'WI'), ('WYOMING', 'WY')
),

state_spelling AS (
    SELECT
        state_name AS spelling,
        state_code
    FROM us_state
    UNION ALL
    SELECT
        state_code AS spelling,
        state_code
    FROM us_state
),

address AS (
    SELECT
        'patients' AS source_table,
        row_id,
        address,
        city,
        state,
        zip,
        county,
        lat,
        lon
    FROM patients
    UNION ALL
    SELECT
        'organizations' AS source_table,
        row_id,
        address,
        city,
        state,
        zip,
        NULL AS county,
        lat,
        lon
    FROM organizations
    UNION ALL
    SELECT
        'providers' AS source_table,
        row_id,
        address,
        city,
        state,
        zip,
        NULL AS county,
        lat,
        lon
    FROM providers
),

normalised AS (
    SELECT
        address.source_table,
        address.row_id,
        left(address.address, 50) AS address_1,
        left(address.city, 50) AS city,
        coalesce(state_spelling.state_code, CASE WHEN length(address.state) = 2 THEN upper(address.state) END) AS state,
        left(address.zip, 9) AS zip,
        left(address.county, 20) AS county,
        trim_scale(address.lat) AS latitude,
        trim_scale(address.lon) AS longitude,
        state_spelling.state_code IS NOT NULL AS is_in_usa
    FROM address
    LEFT JOIN state_spelling
        ON upper(address.state) = state_spelling.spelling
)

SELECT
    source_table,
    row_id,
    address_1,
    city,
    state,
    zip,
    county,
    latitude,
    longitude,
    is_in_usa,
    -- A row without any address has no place, so no key.
    CASE
        WHEN num_nonnulls(address_1, city, state, zip, county, latitude, longitude) > 0
            THEN content_key('location', address_1, city, state, zip, county, latitude::text, longitude::text)
    END AS id_key
FROM normalised
