-- Every encounter, whatever its class, with its visit.
-- grain: one row per row of encounters
-- reads: encounters (organization, provider, encounterclass)
-- reads: encounter_visit
-- reads: patients (id)
-- reads: organizations (id)
-- reads: providers (id)
-- writes: visit_detail
-- source: CDM 5.4 specification, VISIT_DETAIL; docs/mapping/visit_detail.md
WITH site AS (
    SELECT
        id,
        min(row_id) AS care_site_id
    FROM organizations
    GROUP BY id
),

clinician AS (
    SELECT
        id,
        min(row_id) AS provider_id
    FROM providers
    GROUP BY id
),

detail AS MATERIALIZED (
    SELECT
        row_id,
        id,
        patient,
        start_at,
        end_at,
        is_in_stay,
        is_inpatient,
        detail_concept_id,
        visit_row_id,
        lag(row_id) OVER (PARTITION BY patient ORDER BY start_at, end_at, id) AS preceding_row_id
    FROM encounter_visit
),

nested AS (
    -- What happens while the person is an inpatient lies within the first inpatient encounter of the stay that holds its start.
    SELECT DISTINCT ON (inner_detail.row_id)
        inner_detail.row_id,
        inpatient.row_id AS parent_row_id
    FROM detail AS inner_detail
    INNER JOIN detail AS inpatient
        ON
            inner_detail.visit_row_id = inpatient.visit_row_id
            AND inner_detail.start_at BETWEEN inpatient.start_at AND inpatient.end_at
            AND inpatient.is_inpatient
    WHERE
        inner_detail.is_in_stay
        AND NOT inner_detail.is_inpatient
    ORDER BY
        inner_detail.row_id,
        inpatient.start_at,
        inpatient.end_at,
        inpatient.id
)

INSERT INTO visit_detail (
    visit_detail_id,
    person_id,
    visit_detail_concept_id,
    visit_detail_start_date,
    visit_detail_start_datetime,
    visit_detail_end_date,
    visit_detail_end_datetime,
    visit_detail_type_concept_id,
    provider_id,
    care_site_id,
    visit_detail_source_value,
    visit_detail_source_concept_id,
    admitted_from_concept_id,
    admitted_from_source_value,
    discharged_to_concept_id,
    discharged_to_source_value,
    preceding_visit_detail_id,
    parent_visit_detail_id,
    visit_occurrence_id
)
SELECT
    detail.row_id AS visit_detail_id,
    patients.row_id AS person_id,
    detail.detail_concept_id AS visit_detail_concept_id,
    detail.start_at::date AS visit_detail_start_date,
    detail.start_at AS visit_detail_start_datetime,
    detail.end_at::date AS visit_detail_end_date,
    detail.end_at AS visit_detail_end_datetime,
    (
        SELECT fixed_concept.concept_id FROM fixed_concept
        WHERE fixed_concept.fixed_concept_id = 32827 -- EHR encounter record
    ) AS visit_detail_type_concept_id,
    clinician.provider_id,
    site.care_site_id,
    left(encounters.encounterclass, 50) AS visit_detail_source_value,
    0 AS visit_detail_source_concept_id,
    NULL AS admitted_from_concept_id,
    NULL AS admitted_from_source_value,
    NULL AS discharged_to_concept_id,
    NULL AS discharged_to_source_value,
    detail.preceding_row_id AS preceding_visit_detail_id,
    nested.parent_row_id AS parent_visit_detail_id,
    detail.visit_row_id AS visit_occurrence_id
FROM detail
INNER JOIN encounters
    ON detail.row_id = encounters.row_id
INNER JOIN patients
    ON detail.patient = patients.id
LEFT JOIN nested
    ON detail.row_id = nested.row_id
-- 2.x exports have no ORGANIZATION; there PROVIDER holds an organization's Id, and no provider is known.
LEFT JOIN site
    ON coalesce(encounters.organization, encounters.provider) = site.id
LEFT JOIN clinician
    ON encounters.provider = clinician.id;
