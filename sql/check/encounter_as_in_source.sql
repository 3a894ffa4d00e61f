-- Encounters without a visit detail, visit details without an encounter, and those whose person, class or times are not the encounter's.
-- grain: one row per encounter or visit detail
-- reads: encounters (id, start, stop, patient, encounterclass)
-- reads: visit_detail (visit_detail_id, person_id, visit_detail_start_date, visit_detail_start_datetime, visit_detail_end_date)
-- reads: visit_detail (visit_detail_end_datetime, visit_detail_source_value)
-- looks up: patients
-- scope: row
-- denominator: encounters
-- severity: fail
-- source: docs/mapping/visit_detail.md
WITH encounter AS (
    SELECT
        encounters.row_id,
        patients.row_id AS person_id,
        encounters.start AS start_at,
        greatest(encounters.start, encounters.stop) AS end_at,
        left(encounters.encounterclass, 50) AS encounterclass
    FROM encounters
    LEFT JOIN patients
        ON encounters.patient = patients.id
)

SELECT coalesce(encounter.row_id, visit_detail.visit_detail_id) AS visit_detail_id
FROM encounter
FULL JOIN visit_detail
    ON encounter.row_id = visit_detail.visit_detail_id
WHERE
    encounter.row_id IS NULL
    OR visit_detail.visit_detail_id IS NULL
    OR visit_detail.person_id IS DISTINCT FROM encounter.person_id
    OR visit_detail.visit_detail_start_date IS DISTINCT FROM encounter.start_at::date
    OR visit_detail.visit_detail_start_datetime IS DISTINCT FROM encounter.start_at
    OR visit_detail.visit_detail_end_date IS DISTINCT FROM encounter.end_at::date
    OR visit_detail.visit_detail_end_datetime IS DISTINCT FROM encounter.end_at
    OR visit_detail.visit_detail_source_value IS DISTINCT FROM encounter.encounterclass
