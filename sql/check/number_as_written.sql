-- Measurements whose number is not the one that their text says.
-- grain: one row per measurement
-- reads: measurement (measurement_id, value_as_number, value_source_value)
-- scope: row
-- denominator: measurement
-- severity: fail
-- source: docs/mapping/measurement.md
SELECT measurement_id
FROM measurement
WHERE
    value_as_number IS NOT NULL
    AND value_as_number::text IS DISTINCT FROM value_source_value
    AND length(value_source_value) < 50 -- a longer text is cut
    AND CASE
        WHEN value_source_value ~ '^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?0*[0-9]{1,2})?$' THEN value_source_value::numeric <> value_as_number
        ELSE TRUE
    END
