-- Events whose visit detail is of another person or belongs to another visit than the event.
-- grain: one row per event row
-- reads: condition_occurrence (condition_occurrence_id, person_id, visit_occurrence_id, visit_detail_id)
-- reads: drug_exposure (drug_exposure_id, person_id, visit_occurrence_id, visit_detail_id)
-- reads: procedure_occurrence (procedure_occurrence_id, person_id, visit_occurrence_id, visit_detail_id)
-- reads: measurement (measurement_id, person_id, visit_occurrence_id, visit_detail_id)
-- reads: observation (observation_id, person_id, visit_occurrence_id, visit_detail_id)
-- reads: device_exposure (device_exposure_id, person_id, visit_occurrence_id, visit_detail_id)
-- looks up: visit_detail (visit_detail_id)
-- scope: row
-- denominator: (SELECT condition_occurrence_id FROM condition_occurrence UNION ALL SELECT drug_exposure_id FROM drug_exposure
-- denominator: UNION ALL SELECT procedure_occurrence_id FROM procedure_occurrence UNION ALL SELECT measurement_id FROM measurement
-- denominator: UNION ALL SELECT observation_id FROM observation UNION ALL SELECT device_exposure_id FROM device_exposure) AS event
-- severity: fail
-- source: docs/mapping/visit_detail.md
WITH event (id, person_id, visit_occurrence_id, visit_detail_id) AS (
    SELECT
        condition_occurrence_id,
        person_id,
        visit_occurrence_id,
        visit_detail_id
    FROM condition_occurrence
    UNION ALL
    SELECT
        drug_exposure_id,
        person_id,
        visit_occurrence_id,
        visit_detail_id
    FROM drug_exposure
    UNION ALL
    SELECT
        procedure_occurrence_id,
        person_id,
        visit_occurrence_id,
        visit_detail_id
    FROM procedure_occurrence
    UNION ALL
    SELECT
        measurement_id,
        person_id,
        visit_occurrence_id,
        visit_detail_id
    FROM measurement
    UNION ALL
    SELECT
        observation_id,
        person_id,
        visit_occurrence_id,
        visit_detail_id
    FROM observation
    UNION ALL
    SELECT
        device_exposure_id,
        person_id,
        visit_occurrence_id,
        visit_detail_id
    FROM device_exposure
)

SELECT event.id
FROM event
LEFT JOIN visit_detail
    ON event.visit_detail_id = visit_detail.visit_detail_id
WHERE
    (event.visit_detail_id IS NOT NULL AND visit_detail.person_id IS DISTINCT FROM event.person_id)
    OR event.visit_occurrence_id IS DISTINCT FROM visit_detail.visit_occurrence_id
