-- The visit that each encounter belongs to: a hospital stay with what belongs to it, or the encounter alone.
-- grain: one row per row of encounters
-- reads: encounters (id, start, stop, patient, encounterclass)
-- source: OHDSI convention on inpatient stays (one day apart is one stay), emergency room and inpatient visit; docs/mapping/visit_occurrence.md
WITH encounter_class (class_name, detail_fixed_concept_id, visit_fixed_concept_id) AS (
    VALUES
    ('ambulatory', 9202, 9202), -- Outpatient Visit
    ('outpatient', 9202, 9202), -- Outpatient Visit
    ('wellness', 9202, 9202), -- Outpatient Visit
    ('urgentcare', 8782, 9202), -- Urgent Care Facility; Outpatient Visit
    ('emergency', 9203, 9203), -- Emergency Room Visit
    ('inpatient', 9201, 9201), -- Inpatient Visit
    ('home', 581476, 581476), -- Home Visit
    ('hospice', 8546, 8546), -- Hospice
    ('snf', 42898160, 42898160), -- Non-hospital institution Visit
    ('virtual', 5083, 5083) -- Telehealth
),

class_concept AS (
    SELECT
        encounter_class.class_name,
        detail.concept_id AS detail_concept_id,
        visit.concept_id AS visit_concept_id
    FROM encounter_class
    LEFT JOIN fixed_concept AS detail
        ON encounter_class.detail_fixed_concept_id = detail.fixed_concept_id
    LEFT JOIN fixed_concept AS visit
        ON encounter_class.visit_fixed_concept_id = visit.fixed_concept_id
),

encounter AS (
    -- An encounter that has no STOP, or one before its START, ends where it starts.
    SELECT
        row_id,
        id,
        patient,
        start AS start_at,
        greatest(start, stop) AS end_at,
        lower(coalesce(encounterclass, '')) AS class_name
    FROM encounters
),

inpatient AS (
    SELECT
        patient,
        start_at,
        end_at,
        id,
        max(end_at) OVER (
            PARTITION BY patient
            ORDER BY start_at, end_at, id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS in_hospital_until
    FROM encounter
    WHERE class_name = 'inpatient'
),

inpatient_stay AS (
    SELECT
        patient,
        start_at,
        end_at,
        count(*) FILTER (
            WHERE in_hospital_until IS NULL OR start_at > in_hospital_until + interval '24 hours'
        ) OVER (
            PARTITION BY patient
            ORDER BY start_at, end_at, id
            ROWS UNBOUNDED PRECEDING
        ) AS stay_number
    FROM inpatient
),

stay AS (
    SELECT
        patient,
        min(start_at) AS stay_start,
        max(end_at) AS stay_stop
    FROM inpatient_stay
    GROUP BY
        patient,
        stay_number
),

timeline AS (
    -- Encounters and stays of a person in one line, so that windows find the stays around an encounter.
    SELECT
        row_id,
        id,
        patient,
        start_at,
        end_at,
        class_name,
        NULL::timestamp AS stay_start,
        NULL::timestamp AS stay_stop
    FROM encounter
    UNION ALL
    SELECT
        NULL AS row_id,
        NULL AS id,
        patient,
        stay_start AS start_at,
        stay_stop AS end_at,
        NULL AS class_name,
        stay_start,
        stay_stop
    FROM stay
),

around AS (
    -- Stays of a person do not overlap: the greatest start and the greatest stop so far are those of the same, latest stay.
    SELECT
        row_id,
        id,
        patient,
        start_at,
        end_at,
        class_name,
        max(stay_start) OVER up_to_here AS last_stay_start,
        max(stay_stop) OVER up_to_here AS last_stay_stop,
        min(stay_start) OVER after_here AS next_stay_start
    FROM timeline
    WINDOW
        up_to_here AS (
            PARTITION BY patient
            ORDER BY start_at
            RANGE UNBOUNDED PRECEDING
        ),
        after_here AS (
            PARTITION BY patient
            ORDER BY start_at DESC
            GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        )
),

placed AS (
    SELECT
        row_id,
        id,
        patient,
        start_at,
        end_at,
        class_name,
        CASE WHEN start_at <= last_stay_stop THEN last_stay_start END AS holding_stay_start,
        CASE
            WHEN class_name != 'emergency' THEN NULL
            WHEN start_at <= last_stay_stop AND start_at::date = last_stay_start::date THEN last_stay_start
            WHEN end_at::date >= next_stay_start::date THEN next_stay_start
        END AS admitting_stay_start
    FROM around
    WHERE row_id IS NOT NULL
),

member AS (
    SELECT
        row_id,
        id,
        patient,
        start_at,
        end_at,
        class_name,
        admitting_stay_start IS NOT NULL AS is_admitting_emergency,
        coalesce(admitting_stay_start, holding_stay_start) AS stay_start,
        CASE WHEN coalesce(admitting_stay_start, holding_stay_start) IS NULL THEN id END AS lone_id
    FROM placed
)

SELECT
    member.row_id,
    member.id,
    member.patient,
    member.start_at,
    member.end_at,
    member.is_admitting_emergency,
    member.stay_start IS NOT NULL AS is_in_stay,
    member.class_name = 'inpatient' AS is_inpatient,
    coalesce(class_concept.detail_concept_id, 0) AS detail_concept_id,
    coalesce(class_concept.visit_concept_id, 0) AS visit_concept_id,
    first_value(member.row_id) OVER (
        PARTITION BY member.patient, member.stay_start, member.lone_id
        ORDER BY member.start_at, member.end_at, member.id
    ) AS visit_row_id
FROM member
LEFT JOIN class_concept
    ON member.class_name = class_concept.class_name
