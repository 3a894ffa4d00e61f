-- Who paid for a person's care, and when.
-- grain: one row per uninterrupted time with the same payer and plan ownership
-- reads: payer_transitions (patient, memberid, start_date, end_date, payer, plan_ownership)
-- reads: payers (id, name, ownership)
-- reads: patients (id, birthdate, deathdate)
-- reads: event_date
-- writes: payer_plan_period
-- source: CDM 5.4 specification, PAYER_PLAN_PERIOD; Source of Payment Typology; docs/mapping/payer_plan_period.md
CREATE TEMP TABLE payer_period ON COMMIT DROP AS
WITH started AS (
    -- Older exports tell the year alone. It begins on 1 January, in the year of birth with the birth.
    SELECT
        patients.row_id AS person_id,
        payer_transitions.payer,
        payer_transitions.plan_ownership,
        payer_transitions.memberid,
        patients.deathdate::date AS death_date,
        coalesce(
            payer_transitions.end_date::date,
            patients.deathdate::date,
            -- looked for in the few periods that need it: to look through all events of all persons takes longer
            (
                SELECT max(event_date.last_date)
                FROM event_date
                WHERE event_date.patient = payer_transitions.patient
            )
        ) AS told_end,
        CASE
            WHEN payer_transitions.start_date = date_trunc('year', patients.birthdate::timestamp) THEN patients.birthdate::date
            ELSE payer_transitions.start_date::date
        END AS start_date
    FROM payer_transitions
    INNER JOIN patients
        ON payer_transitions.patient = patients.id
),

transition AS (
    -- An open end reaches to death, else to the last event; coverage does not outlive the person; no end before the start.
    SELECT
        person_id,
        payer,
        plan_ownership,
        memberid,
        start_date,
        greatest(start_date, least(told_end, death_date)) AS end_date
    FROM started
),

transition_sequence AS (
    SELECT
        person_id,
        payer,
        plan_ownership,
        memberid,
        start_date,
        end_date,
        max(end_date) OVER (
            PARTITION BY person_id, payer, plan_ownership
            ORDER BY start_date, end_date, memberid COLLATE "C"
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS covered_until
    FROM transition
),

numbered AS (
    -- A year's last day and the next year's first day touch.
    SELECT
        person_id,
        payer,
        plan_ownership,
        memberid,
        start_date,
        end_date,
        count(*) FILTER (
            WHERE covered_until IS NULL OR start_date > covered_until + 1
        ) OVER (
            PARTITION BY person_id, payer, plan_ownership
            ORDER BY start_date, end_date, memberid COLLATE "C"
            ROWS UNBOUNDED PRECEDING
        ) AS period_number
    FROM transition_sequence
),

period AS (
    SELECT
        person_id,
        payer,
        plan_ownership,
        min(start_date) AS start_date,
        max(end_date) AS end_date,
        (array_agg(memberid ORDER BY memberid IS NULL, start_date, end_date, memberid COLLATE "C"))[1] AS first_memberid
    FROM numbered
    GROUP BY
        person_id,
        payer,
        plan_ownership,
        period_number
)

SELECT
    person_id,
    payer,
    plan_ownership,
    start_date,
    end_date,
    first_memberid,
    content_key('payer_plan_period', person_id::text, payer::text, plan_ownership, start_date::text) AS id_key
FROM period;

INSERT INTO new_content_id (id_key)
SELECT payer_period.id_key
FROM payer_period
WHERE NOT EXISTS (
    SELECT
    FROM content_id
    WHERE content_id.id_key = payer_period.id_key
);

WITH payer_name_code (payer_name, payment_code) AS (
    VALUES
    ('MEDICARE', '1'), -- MEDICARE
    ('DUAL ELIGIBLE', '14'), -- Dual Eligibility Medicare/Medicaid Organization
    ('MEDICAID', '2'), -- MEDICAID
    ('HUMANA', '5'), -- PRIVATE HEALTH INSURANCE
    ('UNITEDHEALTHCARE', '5'),
    ('AETNA', '5'),
    ('CIGNA HEALTH', '5'),
    ('ANTHEM', '5'),
    ('BLUE CROSS BLUE SHIELD', '6'), -- BLUE CROSS/BLUE SHIELD
    ('NO_INSURANCE', '81') -- Self-pay
),

payer_ownership_code (payer_ownership, payment_code) AS (
    -- For payers that the list above does not name; a government payer may be of any kind.
    VALUES
    ('PRIVATE', '5'), -- PRIVATE HEALTH INSURANCE
    ('NO_INSURANCE', '81') -- Self-pay
),

first_payer AS (
    SELECT DISTINCT ON (id)
        id,
        name,
        ownership
    FROM payers
    ORDER BY
        id,
        name COLLATE "C",
        ownership COLLATE "C"
),

payer AS (
    SELECT
        first_payer.id,
        first_payer.name,
        payment_type.concept_id AS payer_concept_id
    FROM first_payer
    LEFT JOIN payer_name_code
        ON upper(first_payer.name) = payer_name_code.payer_name
    LEFT JOIN payer_ownership_code
        ON upper(first_payer.ownership) = payer_ownership_code.payer_ownership
    LEFT JOIN concept AS payment_type
        ON
            coalesce(payer_name_code.payment_code, payer_ownership_code.payment_code) = payment_type.concept_code
            AND payment_type.vocabulary_id = 'SOPT'
            AND payment_type.standard_concept = 'S'
            AND payment_type.invalid_reason IS NULL
)

INSERT INTO payer_plan_period (
    payer_plan_period_id,
    person_id,
    payer_plan_period_start_date,
    payer_plan_period_end_date,
    payer_concept_id,
    payer_source_value,
    payer_source_concept_id,
    plan_concept_id,
    plan_source_value,
    plan_source_concept_id,
    sponsor_concept_id,
    sponsor_source_value,
    sponsor_source_concept_id,
    family_source_value,
    stop_reason_concept_id,
    stop_reason_source_value,
    stop_reason_source_concept_id
)
SELECT
    content_id.id AS payer_plan_period_id,
    payer_period.person_id,
    payer_period.start_date AS payer_plan_period_start_date,
    payer_period.end_date AS payer_plan_period_end_date,
    coalesce(payer.payer_concept_id, 0) AS payer_concept_id,
    left(payer.name, 50) AS payer_source_value,
    0 AS payer_source_concept_id,
    0 AS plan_concept_id,
    left(payer_period.plan_ownership, 50) AS plan_source_value,
    0 AS plan_source_concept_id,
    0 AS sponsor_concept_id,
    NULL AS sponsor_source_value,
    0 AS sponsor_source_concept_id,
    left(payer_period.first_memberid, 50) AS family_source_value,
    0 AS stop_reason_concept_id,
    NULL AS stop_reason_source_value,
    0 AS stop_reason_source_concept_id
FROM payer_period
INNER JOIN content_id
    ON payer_period.id_key = content_id.id_key
LEFT JOIN payer
    ON payer_period.payer = payer.id;
