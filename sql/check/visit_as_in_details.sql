-- Visits without a detail, details without their visit, and visits whose person, start or end is not that of their details.
-- grain: one row per visit
-- reads: visit_occurrence (visit_occurrence_id, person_id, visit_start_date, visit_start_datetime, visit_end_date, visit_end_datetime)
-- reads: visit_detail (visit_occurrence_id, person_id, visit_detail_start_datetime, visit_detail_end_datetime)
-- scope: person
-- denominator: visit_occurrence
-- severity: fail
-- source: docs/mapping/visit_occurrence.md
WITH span AS (
    SELECT
        visit_occurrence_id,
        min(person_id) AS first_person_id,
        max(person_id) AS last_person_id,
        min(visit_detail_start_datetime) AS start_at,
        max(visit_detail_end_datetime) AS end_at
    FROM visit_detail
    GROUP BY visit_occurrence_id
)

SELECT coalesce(visit_occurrence.visit_occurrence_id, span.visit_occurrence_id) AS visit_occurrence_id
FROM visit_occurrence
FULL JOIN span
    ON visit_occurrence.visit_occurrence_id = span.visit_occurrence_id
WHERE
    span.first_person_id IS DISTINCT FROM visit_occurrence.person_id
    OR span.last_person_id IS DISTINCT FROM visit_occurrence.person_id
    OR span.start_at IS DISTINCT FROM visit_occurrence.visit_start_datetime
    OR span.end_at IS DISTINCT FROM visit_occurrence.visit_end_datetime
    OR span.start_at::date IS DISTINCT FROM visit_occurrence.visit_start_date
    OR span.end_at::date IS DISTINCT FROM visit_occurrence.visit_end_date
