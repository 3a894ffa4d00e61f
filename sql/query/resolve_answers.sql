-- Find the texts in use that name an answer: a concept of domain 'Meas Value', a LOINC answer, or SNOMED's own concept by its full name.
-- grain: one row per text that names exactly one standard concept; no row for any other text
-- reads: answer_in_use (value_text), concept, concept_relationship
-- writes: answer_map
-- source: docs/mapping/measurement.md. A text with a semantic tag is SNOMED's own, of the class that the tag names; others are LOINC's
-- answers first. Names fold case, tag, commas and blanks (an export writes a comma as a blank); ddl/vocab_answer_index.sql folds the same.
INSERT INTO answer_map (
    value_text,
    concept_id
)
WITH tag (tag_name, concept_class_id) AS (
    VALUES
    ('finding', 'Clinical Finding'),
    ('disorder', 'Disorder'),
    ('disorder', 'Clinical Finding'), -- older vocabularies have one class for both
    ('situation', 'Context-dependent'),
    ('qualifier value', 'Qualifier Value')
),

answer AS (
    SELECT DISTINCT
        value_text,
        substring(value_text FROM ' \((finding|disorder|situation|qualifier value)\)$') AS tag_name,
        lower(
            regexp_replace(
                regexp_replace(value_text, ' \((finding|disorder|situation|qualifier value)\)$', ''), '[ ,]+', ' ', 'g'
            )
        ) AS folded
    FROM answer_in_use
    WHERE value_text IS NOT NULL
),

named AS (
    SELECT
        answer.value_text,
        concept.concept_id,
        1 AS kind,
        concept.vocabulary_id <> 'LOINC' AS is_snomed,
        concept.concept_name <> answer.value_text AS is_folded
    FROM answer
    INNER JOIN concept
        ON
            answer.folded = lower(
                regexp_replace(
                    regexp_replace(concept.concept_name, ' \((finding|disorder|situation|qualifier value)\)$', ''), '[ ,]+', ' ', 'g'
                )
            )
            AND (concept.domain_id = 'Meas Value' OR (concept.vocabulary_id = 'LOINC' AND concept.concept_class_id = 'Answer'))
    WHERE
        concept.invalid_reason IS NULL
        AND (concept.vocabulary_id = 'SNOMED' OR (concept.vocabulary_id = 'LOINC' AND answer.tag_name IS NULL))
    UNION ALL
    -- 'Never smoked tobacco (finding)' is the concept, although its domain is not that of values.
    SELECT
        answer.value_text,
        concept.concept_id,
        2 AS kind,
        TRUE AS is_snomed,
        FALSE AS is_folded
    FROM answer
    INNER JOIN tag
        ON answer.tag_name = tag.tag_name
    INNER JOIN concept
        ON
            answer.folded = lower(
                regexp_replace(
                    regexp_replace(concept.concept_name, ' \((finding|disorder|situation|qualifier value)\)$', ''), '[ ,]+', ' ', 'g'
                )
            )
            AND concept.vocabulary_id = 'SNOMED'
            AND concept.concept_class_id IN ('Clinical Finding', 'Disorder', 'Context-dependent', 'Qualifier Value')
            AND tag.concept_class_id = concept.concept_class_id
    WHERE concept.invalid_reason IS NULL
),

-- What each name stands for; a non-standard answer through 'Maps to'.
standard AS (
    SELECT
        named.value_text,
        named.kind,
        named.is_snomed,
        named.is_folded,
        target.concept_id
    FROM named
    LEFT OUTER JOIN concept_relationship AS relationship
        ON
            named.concept_id = relationship.concept_id_1
            AND relationship.relationship_id = 'Maps to'
            AND relationship.invalid_reason IS NULL
    INNER JOIN concept AS target
        ON
            target.concept_id = coalesce(relationship.concept_id_2, named.concept_id)
            AND target.standard_concept = 'S'
            AND target.invalid_reason IS NULL
),

counted AS (
    SELECT
        value_text,
        kind,
        is_snomed,
        is_folded,
        min(concept_id) AS concept_id,
        count(DISTINCT concept_id) AS concepts
    FROM standard
    GROUP BY
        value_text,
        kind,
        is_snomed,
        is_folded
),

-- The best kind of name decides; if that is ambiguous, the text stays text.
best AS (
    SELECT DISTINCT ON (value_text)
        value_text,
        concept_id,
        concepts
    FROM counted
    ORDER BY
        value_text,
        kind,
        is_snomed,
        is_folded
)

SELECT
    value_text,
    concept_id
FROM best
WHERE concepts = 1;
