-- Body sites of imaging studies that no observation records.
-- grain: one row per study and body site
-- reads: imaging_studies (id, patient, encounter, bodysite_code)
-- reads: observation (observation_id)
-- scope: person
-- denominator: (SELECT DISTINCT patient, encounter, id, bodysite_code FROM imaging_studies WHERE bodysite_code IS NOT NULL) AS site
-- severity: fail
-- source: docs/mapping/observation.md
SELECT min(imaging_studies.row_id) AS row_id
FROM imaging_studies
LEFT JOIN observation
    ON imaging_studies.row_id = observation.observation_id
WHERE imaging_studies.bodysite_code IS NOT NULL
GROUP BY
    imaging_studies.patient,
    imaging_studies.encounter,
    imaging_studies.id,
    imaging_studies.bodysite_code
HAVING count(observation.observation_id) = 0
