-- Drugs and vaccines of a person: source rows whose standard concept is of the domain Drug.
-- unit: encounter
-- grain: one row per source row and Drug target
-- reads: patients (id, deathdate)
-- reads: clinical_event
-- reads: encounters (id, patient)
-- reads: visit_detail (visit_detail_id, visit_occurrence_id, provider_id)
-- writes: drug_exposure
-- source: CDM 5.4 specification, DRUG_EXPOSURE; docs/mapping/drug_exposure.md
WITH visit AS (
    SELECT
        encounters.patient,
        encounters.id AS encounter,
        visit_detail.visit_detail_id,
        visit_detail.visit_occurrence_id,
        visit_detail.provider_id
    FROM encounters
    INNER JOIN visit_detail
        ON encounters.row_id = visit_detail.visit_detail_id
)

INSERT INTO drug_exposure (
    drug_exposure_id,
    person_id,
    drug_concept_id,
    drug_exposure_start_date,
    drug_exposure_start_datetime,
    drug_exposure_end_date,
    drug_exposure_end_datetime,
    verbatim_end_date,
    drug_type_concept_id,
    stop_reason,
    refills,
    quantity,
    days_supply,
    sig,
    route_concept_id,
    lot_number,
    provider_id,
    visit_occurrence_id,
    visit_detail_id,
    drug_source_value,
    drug_source_concept_id,
    route_source_value,
    dose_unit_source_value
)
SELECT
    CASE
        WHEN clinical_event.target_rank = 1 THEN clinical_event.row_id
        ELSE (
            SELECT content_id.id FROM content_id
            WHERE content_id.id_key = clinical_event.id_key
        )
    END AS drug_exposure_id,
    patients.row_id AS person_id,
    clinical_event.concept_id AS drug_concept_id,
    clinical_event.start_at::date AS drug_exposure_start_date,
    clinical_event.start_at AS drug_exposure_start_datetime,
    CASE
        WHEN clinical_event.end_at IS NOT NULL THEN greatest(clinical_event.start_at, clinical_event.end_at)::date
        WHEN clinical_event.source_table = 'medications'
            -- an ongoing drug lasts 30 days per dispense, and not beyond death
            THEN greatest(
                clinical_event.start_at::date,
                least(
                    clinical_event.start_at::date
                    + 30 * least(coalesce(clinical_event.quantity, 1), 36500)::integer
                    - 1,
                    patients.deathdate::date
                )
            )
        ELSE clinical_event.start_at::date
    END AS drug_exposure_end_date,
    CASE
        WHEN clinical_event.end_at IS NOT NULL THEN greatest(clinical_event.start_at, clinical_event.end_at)
        -- a dose is given at one moment
        WHEN clinical_event.source_table = 'immunizations' THEN clinical_event.start_at
    END AS drug_exposure_end_datetime,
    clinical_event.end_at::date AS verbatim_end_date,
    clinical_event.type_concept_id AS drug_type_concept_id,
    NULL AS stop_reason,
    CASE
        WHEN clinical_event.source_table = 'medications' AND clinical_event.quantity IS NOT NULL
            THEN greatest(clinical_event.quantity - 1, 0)::integer
    END AS refills,
    clinical_event.quantity,
    CASE
        WHEN clinical_event.source_table = 'medications'
            -- whole days; what lasts less than a day has no days of supply
            THEN nullif(greatest(extract(DAY FROM clinical_event.end_at - clinical_event.start_at)::integer, 0), 0)
    END AS days_supply,
    NULL AS sig,
    0 AS route_concept_id,
    NULL AS lot_number,
    visit.provider_id,
    visit.visit_occurrence_id,
    visit.visit_detail_id,
    left(clinical_event.code, 50) AS drug_source_value,
    clinical_event.source_concept_id AS drug_source_concept_id,
    NULL AS route_source_value,
    NULL AS dose_unit_source_value
FROM clinical_event
INNER JOIN patients
    ON clinical_event.patient = patients.id
LEFT JOIN visit
    ON
        clinical_event.patient = visit.patient
        AND clinical_event.encounter = visit.encounter
WHERE clinical_event.target_table = 'drug_exposure';
