-- Resolve every unit in use to a standard UCUM concept, 0 where none is found.
-- grain: one row per unit
-- reads: unit_in_use (unit_source_value), unit_alias, concept, concept_relationship, source_to_concept_map
-- writes: unit_map
-- parameters: release_date, the vocabulary's; a user's row that ended before it is no longer in force
-- source: docs/mapping/measurement.md; the user's own lists, the code as given, the code folded, then units.csv
INSERT INTO unit_map (
    unit_source_value,
    unit_concept_id
)
WITH unit AS (
    SELECT DISTINCT unit_source_value
    FROM unit_in_use
    WHERE unit_source_value IS NOT NULL
),

-- UCUM's codes with the standard concept that each stands for; about a thousand rows.
ucum AS MATERIALIZED (
    SELECT
        concept.concept_code,
        target.concept_id
    FROM concept
    LEFT OUTER JOIN concept_relationship AS relationship
        ON
            concept.concept_id = relationship.concept_id_1
            AND relationship.relationship_id = 'Maps to'
            AND relationship.invalid_reason IS NULL
    INNER JOIN concept AS target
        ON
            target.concept_id = coalesce(relationship.concept_id_2, concept.concept_id)
            AND target.standard_concept = 'S'
            AND target.invalid_reason IS NULL
    WHERE concept.vocabulary_id = 'UCUM'
),

candidate AS (
    SELECT
        unit.unit_source_value,
        1 AS preference,
        0 AS place,
        target.concept_id
    FROM unit
    INNER JOIN source_to_concept_map AS own_row
        ON
            unit.unit_source_value = own_row.source_code
            AND own_row.source_vocabulary_id IN ('UCUM', 'Synthea')
            AND own_row.invalid_reason IS NULL
            AND own_row.valid_end_date >= coalesce(%(release_date)s::date, '-infinity'::date) -- noqa: RF02, a parameter
    INNER JOIN concept AS target
        ON
            own_row.target_concept_id = target.concept_id
            AND target.domain_id = 'Unit'
            AND target.standard_concept = 'S'
            AND target.invalid_reason IS NULL
    UNION ALL
    -- The user's list; without a code the unit is left unmapped on purpose.
    SELECT
        unit.unit_source_value,
        2 AS preference,
        unit_alias.place,
        coalesce(ucum.concept_id, 0) AS concept_id
    FROM unit
    INNER JOIN unit_alias
        ON unit.unit_source_value = unit_alias.unit_source_value
    LEFT OUTER JOIN ucum
        ON unit_alias.ucum_code = ucum.concept_code
    WHERE
        unit_alias.is_own
        AND (unit_alias.ucum_code IS NULL OR ucum.concept_id IS NOT NULL)
    UNION ALL
    SELECT
        unit.unit_source_value,
        3 AS preference,
        0 AS place,
        ucum.concept_id
    FROM unit
    INNER JOIN ucum
        ON unit.unit_source_value = ucum.concept_code
    UNION ALL
    -- Folded only where one unit is left: 'A' is ampere and 'a' is year.
    SELECT
        unit.unit_source_value,
        4 AS preference,
        0 AS place,
        min(ucum.concept_id) AS concept_id
    FROM unit
    INNER JOIN ucum
        ON lower(unit.unit_source_value) = lower(ucum.concept_code)
    GROUP BY unit.unit_source_value
    HAVING count(DISTINCT ucum.concept_id) = 1
    UNION ALL
    SELECT
        unit.unit_source_value,
        5 AS preference,
        unit_alias.place,
        ucum.concept_id
    FROM unit
    INNER JOIN unit_alias
        ON unit.unit_source_value = unit_alias.unit_source_value
    INNER JOIN ucum
        ON unit_alias.ucum_code = ucum.concept_code
    WHERE NOT unit_alias.is_own
),

chosen AS (
    SELECT DISTINCT ON (unit_source_value)
        unit_source_value,
        concept_id
    FROM candidate
    ORDER BY
        unit_source_value,
        preference,
        place,
        concept_id
)

SELECT
    unit.unit_source_value,
    coalesce(chosen.concept_id, 0) AS unit_concept_id
FROM unit
LEFT OUTER JOIN chosen
    ON unit.unit_source_value = chosen.unit_source_value;
