-- Links between facts: what was done and the condition it was done for; an imaging procedure and its body site.
-- grain: two rows (one each way) per linked pair
-- reads: patients (id)
-- reads: reason_event
-- reads: conditions (patient, encounter, start, stop, system, code, description)
-- reads: imaging_study
-- reads: procedures (patient, encounter, start, code)
-- reads: procedure_occurrence (procedure_occurrence_id)
-- writes: fact_relationship
-- source: CDM 5.4 specification, FACT_RELATIONSHIP (each relationship is recorded in both directions); docs/mapping/fact_relationship.md
WITH condition_code AS (
    -- The vocabulary of a condition's code, as in the view source_event.
    SELECT
        row_id,
        patient,
        encounter,
        start::date AS start_date,
        coalesce(stop::date, 'infinity') AS end_date,
        code,
        description,
        system,
        CASE
            WHEN system IS NULL OR lower(system) IN ('unknown', 'snomed', 'snomed-ct', 'http://snomed.info/sct') THEN 'SNOMED'
            WHEN lower(system) IN ('rxnorm', 'http://www.nlm.nih.gov/research/umls/rxnorm') THEN 'RxNorm'
            WHEN lower(system) = 'http://loinc.org' THEN 'LOINC'
            ELSE system
        END AS vocabulary_id
    FROM conditions
),

condition AS MATERIALIZED (
    -- A condition of the source is linked in whichever table its code led it to. Told for each condition, before its reasons multiply it.
    SELECT
        condition_code.row_id,
        condition_code.patient,
        patients.row_id AS person_id,
        condition_code.encounter,
        condition_code.start_date,
        condition_code.end_date,
        condition_code.code,
        condition_code.description,
        condition_code.system,
        coalesce(code_map.target_table, 'condition_occurrence') AS target_table
    FROM condition_code
    INNER JOIN patients
        ON condition_code.patient = patients.id
    LEFT JOIN code_map
        ON
            condition_code.vocabulary_id = code_map.vocabulary_id
            AND condition_code.code = code_map.code
            AND code_map.ordinal = 1
),

event AS (
    SELECT
        row_id,
        patient,
        start_at::date AS start_date,
        reasoncode,
        target_table
    FROM reason_event
),

reason AS (
    -- What a person had done on one day for one reason was done for one condition.
    SELECT DISTINCT
        patient,
        reasoncode,
        start_date
    FROM event
),

reason_condition AS (
    -- Of the person's conditions with that code: one whose dates hold the start of what was done, the latest of them; else the latest
    -- that began before; else the earliest.
    SELECT DISTINCT ON (reason.patient, reason.reasoncode, reason.start_date)
        reason.patient,
        reason.reasoncode,
        reason.start_date,
        condition.row_id,
        condition.person_id,
        condition.target_table
    FROM reason
    INNER JOIN condition
        ON
            reason.patient = condition.patient
            AND reason.reasoncode = condition.code
    ORDER BY
        reason.patient ASC,
        reason.reasoncode ASC,
        reason.start_date ASC,
        (reason.start_date BETWEEN condition.start_date AND condition.end_date) DESC,
        (condition.start_date <= reason.start_date) DESC,
        abs(reason.start_date - condition.start_date) ASC,
        condition.end_date ASC,
        condition.encounter ASC,
        condition.description COLLATE "C" ASC,
        condition.system COLLATE "C" ASC,
        condition.row_id ASC
),

reason_pair AS (
    SELECT
        reason_condition.person_id,
        event.row_id AS fact_id,
        event.target_table,
        reason_condition.row_id AS condition_row_id,
        reason_condition.target_table AS condition_table
    FROM event
    INNER JOIN reason_condition
        ON
            event.patient = reason_condition.patient
            AND event.reasoncode = reason_condition.reasoncode
            AND event.start_date = reason_condition.start_date
),

site AS (
    -- The study's first row tells its procedure and day, for all its body sites.
    SELECT
        imaging_study.row_id,
        imaging_study.patient,
        imaging_study.encounter,
        first_value(imaging_study.procedure_code) OVER study AS procedure_code,
        first_value(imaging_study.start_at::date) OVER study AS study_date,
        first_value(imaging_study.row_id) OVER study AS study_row_id,
        imaging_study.bodysite_code
    FROM imaging_study
    WINDOW study AS (PARTITION BY imaging_study.patient, imaging_study.encounter, imaging_study.id ORDER BY imaging_study.site_rank)
),

site_pair AS (
    SELECT
        site.patient,
        procedures.row_id AS procedure_occurrence_id,
        site.row_id AS observation_id
    FROM site
    INNER JOIN procedures
        ON
            site.patient = procedures.patient
            AND site.encounter = procedures.encounter
            AND site.procedure_code = procedures.code
            AND site.study_date = procedures.start::date
    WHERE site.bodysite_code IS NOT NULL
    UNION ALL
    -- an unmatched study is a procedure_occurrence itself, under the row_id of its first row
    SELECT
        site.patient,
        site.study_row_id,
        site.row_id
    FROM site
    WHERE site.bodysite_code IS NOT NULL
),

link AS (
    SELECT
        reason_pair.person_id,
        reason_pair.target_table AS table_1,
        reason_pair.fact_id AS fact_id_1,
        reason_pair.condition_table AS table_2,
        reason_pair.condition_row_id AS fact_id_2,
        46233684 AS relationship -- Relevant condition of
    FROM reason_pair
    UNION ALL
    SELECT
        patients.row_id,
        'procedure_occurrence',
        site_pair.procedure_occurrence_id,
        'observation',
        site_pair.observation_id,
        44818743 -- Has procedure site
    FROM site_pair
    INNER JOIN patients
        ON site_pair.patient = patients.id
    INNER JOIN procedure_occurrence
        ON site_pair.procedure_occurrence_id = procedure_occurrence.procedure_occurrence_id
),

table_domain (target_table, domain_concept_id) AS (
    VALUES
    ('procedure_occurrence', 10), -- Procedure
    ('drug_exposure', 13), -- Drug
    ('device_exposure', 17), -- Device
    ('condition_occurrence', 19), -- Condition
    ('measurement', 21), -- Measurement
    ('observation', 27), -- Observation
    ('specimen', 36) -- Specimen
),

fact_domain AS (
    SELECT
        table_domain.target_table,
        coalesce(fixed_concept.concept_id, 0) AS domain_concept_id
    FROM table_domain
    LEFT JOIN fixed_concept
        ON table_domain.domain_concept_id = fixed_concept.fixed_concept_id
),

reverse_of (relationship, reverse_relationship) AS (
    VALUES
    (46233684, 46233685), -- Condition relevant to
    (44818743, 44818841) -- Procedure site of
),

fact_relation AS MATERIALIZED (
    -- Looked up once, not for each pair.
    SELECT
        reverse_of.relationship,
        coalesce(forward.concept_id, 0) AS forward_concept_id,
        coalesce(backward.concept_id, 0) AS backward_concept_id
    FROM reverse_of
    LEFT JOIN fixed_concept AS forward
        ON reverse_of.relationship = forward.fixed_concept_id
    LEFT JOIN fixed_concept AS backward
        ON reverse_of.reverse_relationship = backward.fixed_concept_id
),

direction (is_forward) AS (
    VALUES (TRUE), (FALSE)
)

INSERT INTO fact_relationship (
    domain_concept_id_1,
    fact_id_1,
    domain_concept_id_2,
    fact_id_2,
    relationship_concept_id,
    person_id
)
SELECT
    CASE WHEN direction.is_forward THEN domain_1.domain_concept_id ELSE domain_2.domain_concept_id END AS domain_concept_id_1,
    CASE WHEN direction.is_forward THEN link.fact_id_1 ELSE link.fact_id_2 END AS fact_id_1,
    CASE WHEN direction.is_forward THEN domain_2.domain_concept_id ELSE domain_1.domain_concept_id END AS domain_concept_id_2,
    CASE WHEN direction.is_forward THEN link.fact_id_2 ELSE link.fact_id_1 END AS fact_id_2,
    CASE
        WHEN direction.is_forward THEN fact_relation.forward_concept_id
        ELSE fact_relation.backward_concept_id
    END AS relationship_concept_id,
    link.person_id
FROM link
INNER JOIN fact_domain AS domain_1
    ON link.table_1 = domain_1.target_table
INNER JOIN fact_domain AS domain_2
    ON link.table_2 = domain_2.target_table
INNER JOIN fact_relation
    ON link.relationship = fact_relation.relationship
CROSS JOIN direction
WHERE
    direction.is_forward
    -- a study that stands for itself and its body site is one id; without their concepts both ways say the same
    OR link.fact_id_1 <> link.fact_id_2
    OR domain_1.domain_concept_id <> domain_2.domain_concept_id
    OR fact_relation.forward_concept_id <> fact_relation.backward_concept_id;
