-- Answers are looked up by their folded name; sql/query/resolve_answers.sql folds the same way.
-- Run with the schema that holds the concepts first in the search path.
CREATE INDEX ix_concept_answer ON concept (
    lower(
        regexp_replace(regexp_replace(concept_name, ' \((finding|disorder|situation|qualifier value)\)$', ''), '[ ,]+', ' ', 'g')
    )
)
WHERE domain_id = 'Meas Value' OR (vocabulary_id = 'LOINC' AND concept_class_id = 'Answer');

CREATE INDEX ix_concept_finding ON concept (
    lower(
        regexp_replace(regexp_replace(concept_name, ' \((finding|disorder|situation|qualifier value)\)$', ''), '[ ,]+', ' ', 'g')
    )
)
WHERE vocabulary_id = 'SNOMED' AND concept_class_id IN ('Clinical Finding', 'Disorder', 'Context-dependent', 'Qualifier Value');
