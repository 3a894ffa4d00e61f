-- What care cost, was charged and was paid: each cost of the source once, each claim transaction once.
-- unit: encounter
-- grain: one row per row of encounters, medications, immunizations and procedures
-- reads: patients (id)
-- reads: encounters (id, patient, start, base_encounter_cost, total_claim_cost, payer_coverage)
-- reads: medications (patient, encounter, start, stop, code, description, payer, base_cost)
-- reads: medications (payer_coverage, dispenses, totalcost, reasoncode, reasondescription)
-- reads: immunizations (patient, encounter, date, code, description, base_cost)
-- reads: procedures (patient, encounter, start, stop, system, code, description, base_cost, reasoncode, reasondescription)
-- reads: claims (id, patientid, appointmentid)
-- reads: claim_line
-- reads: claim_person
-- reads: visit_detail (visit_detail_id, visit_occurrence_id)
-- reads: payer_plan_period (payer_plan_period_id, person_id, payer_plan_period_start_date, payer_plan_period_end_date)
-- reads: payer_plan_period (payer_source_value, plan_source_value, family_source_value)
-- writes: cost
-- source: CDM 5.4 specification, COST; Synthea CSV data dictionary; docs/mapping/cost.md
-- What one claim says of one code at one time: a charge with its payments. The filters keep the sums' memory for groups that need them.
CREATE TEMP TABLE claim_item ON COMMIT DROP AS
SELECT
    patient,
    encounter,
    claimid,
    code,
    start_at,
    count(*) FILTER (WHERE is_charge) AS charge_count,
    sum(charge) FILTER (WHERE charge IS NOT NULL) AS charge,
    sum(paid) FILTER (WHERE paid IS NOT NULL) AS paid,
    sum(paid_by_payer) FILTER (WHERE paid_by_payer IS NOT NULL) AS paid_by_payer,
    sum(copay) FILTER (WHERE copay IS NOT NULL) AS copay,
    sum(billed_to_patient) FILTER (WHERE billed_to_patient IS NOT NULL) AS billed_to_patient
FROM claim_line
GROUP BY
    patient,
    encounter,
    claimid,
    code,
    start_at;

-- A claim that charges one code several times at once gives one item per charge: the nth line of each kind belongs to the nth charge.
CREATE TEMP TABLE repeated_item ON COMMIT DROP AS
SELECT
    patient,
    encounter,
    claimid,
    code,
    start_at,
    charge_count
FROM claim_item
WHERE
    charge_count > 1
    AND encounter IS NOT NULL
    AND claimid IS NOT NULL
    AND code IS NOT NULL
    AND start_at IS NOT NULL;

ANALYZE repeated_item;

DELETE FROM claim_item
USING repeated_item
WHERE
    claim_item.charge_count > 1
    AND claim_item.claimid = repeated_item.claimid
    AND claim_item.patient = repeated_item.patient
    AND claim_item.encounter = repeated_item.encounter
    AND claim_item.code = repeated_item.code
    AND claim_item.start_at = repeated_item.start_at;

WITH numbered_line AS (
    SELECT
        claim_line.patient,
        claim_line.encounter,
        claim_line.claimid,
        claim_line.code,
        claim_line.start_at,
        claim_line.charge,
        claim_line.paid,
        claim_line.paid_by_payer,
        claim_line.copay,
        claim_line.billed_to_patient,
        least(
            repeated_item.charge_count,
            row_number() OVER (
                PARTITION BY
                    claim_line.claimid,
                    claim_line.patient,
                    claim_line.encounter,
                    claim_line.code,
                    claim_line.start_at,
                    claim_line.line_kind
                ORDER BY
                    claim_line.charge,
                    claim_line.paid,
                    claim_line.billed_to_patient
            )
        ) AS charge_number
    FROM claim_line
    INNER JOIN repeated_item
        ON
            claim_line.claimid = repeated_item.claimid
            AND claim_line.patient = repeated_item.patient
            AND claim_line.encounter = repeated_item.encounter
            AND claim_line.code = repeated_item.code
            AND claim_line.start_at = repeated_item.start_at
)

INSERT INTO claim_item (
    patient,
    encounter,
    claimid,
    code,
    start_at,
    charge_count,
    charge,
    paid,
    paid_by_payer,
    copay,
    billed_to_patient
)
SELECT
    patient,
    encounter,
    claimid,
    code,
    start_at,
    1 AS charge_count,
    sum(charge) AS charge,
    sum(paid) AS paid,
    sum(paid_by_payer) AS paid_by_payer,
    sum(copay) AS copay,
    sum(billed_to_patient) AS billed_to_patient
FROM numbered_line
GROUP BY
    patient,
    encounter,
    claimid,
    code,
    start_at,
    charge_number;

ANALYZE claim_item;

-- Items and priced rows of one encounter, code and start meet in content order; an item that meets none belongs to the visit.
CREATE TEMP TABLE item_match ON COMMIT DROP AS
WITH item AS (
    SELECT
        patient,
        encounter,
        claimid,
        code,
        start_at,
        charge_count,
        charge,
        paid,
        paid_by_payer,
        copay,
        billed_to_patient,
        row_number() OVER (
            PARTITION BY patient, encounter, code, start_at
            ORDER BY charge, paid, paid_by_payer, copay, billed_to_patient, claimid
        ) AS item_rank
    FROM claim_item
),

priced AS (
    SELECT
        'Drug' AS domain_id,
        row_id,
        patient,
        encounter,
        start AS start_at,
        stop AS end_at,
        code,
        base_cost,
        totalcost AS total_cost,
        totalcost AS claim_total,
        payer_coverage,
        dispenses,
        reasoncode,
        description,
        ARRAY[payer::text, payer_coverage::text, reasondescription]::text AS other_content -- makes the order total
    FROM medications
    UNION ALL
    SELECT
        'Drug',
        row_id,
        patient,
        encounter,
        date,
        NULL,
        code,
        base_cost,
        base_cost AS total_cost,
        NULL,
        NULL,
        NULL,
        NULL,
        description,
        NULL
    FROM immunizations
    UNION ALL
    SELECT
        'Procedure',
        row_id,
        patient,
        encounter,
        start,
        stop,
        code,
        base_cost,
        base_cost AS total_cost,
        NULL,
        NULL,
        NULL,
        reasoncode,
        description,
        ARRAY[system, reasondescription]::text
    FROM procedures
),

ranked_row AS (
    SELECT
        domain_id,
        row_id,
        patient,
        encounter,
        start_at,
        code,
        total_cost,
        claim_total,
        payer_coverage,
        row_number() OVER (
            PARTITION BY patient, encounter, code, start_at
            ORDER BY
                base_cost,
                total_cost,
                dispenses,
                end_at,
                domain_id COLLATE "C",
                reasoncode COLLATE "C",
                description COLLATE "C",
                other_content COLLATE "C",
                row_id
        ) AS row_rank
    FROM priced
)

SELECT
    ranked_row.domain_id,
    ranked_row.row_id,
    coalesce(ranked_row.patient, item.patient) AS patient,
    coalesce(ranked_row.encounter, item.encounter) AS encounter,
    ranked_row.start_at,
    ranked_row.total_cost,
    ranked_row.claim_total,
    ranked_row.payer_coverage,
    item.claimid,
    item.charge_count,
    item.charge,
    item.paid,
    item.paid_by_payer,
    item.copay,
    item.billed_to_patient
FROM ranked_row
FULL JOIN item
    ON
        ranked_row.patient = item.patient
        AND ranked_row.encounter = item.encounter
        AND ranked_row.code = item.code
        AND ranked_row.start_at = item.start_at
        AND ranked_row.row_rank = item.item_rank;

WITH visit_item AS (
    SELECT
        item_match.patient,
        coalesce(item_match.encounter, claims.appointmentid) AS encounter,
        sum(item_match.charge_count) AS charge_count,
        sum(item_match.charge) AS charge,
        sum(item_match.paid) AS paid,
        sum(item_match.paid_by_payer) AS paid_by_payer,
        sum(item_match.copay) AS copay,
        sum(item_match.billed_to_patient) AS billed_to_patient
    FROM item_match
    LEFT JOIN claims
        ON
            item_match.encounter IS NULL
            AND item_match.claimid = claims.id
            AND item_match.patient = claims.patientid
    WHERE item_match.row_id IS NULL
    GROUP BY
        item_match.patient,
        coalesce(item_match.encounter, claims.appointmentid)
),

priced_event AS (
    SELECT
        'Visit' AS domain_id,
        encounters.row_id,
        visit_detail.visit_occurrence_id AS event_id,
        encounters.patient,
        encounters.start::date AS start_date,
        encounters.base_encounter_cost AS total_cost,
        encounters.total_claim_cost AS claim_total,
        encounters.payer_coverage,
        visit_item.charge_count,
        visit_item.charge,
        visit_item.paid,
        visit_item.paid_by_payer,
        visit_item.copay,
        visit_item.billed_to_patient,
        -- what those paid who paid nothing of the transactions
        CASE WHEN visit_item.charge_count IS NOT NULL THEN 0 END AS unpaid
    FROM encounters
    INNER JOIN visit_detail
        ON encounters.row_id = visit_detail.visit_detail_id
    LEFT JOIN visit_item
        ON
            encounters.patient = visit_item.patient
            AND encounters.id = visit_item.encounter
    UNION ALL
    SELECT
        domain_id,
        row_id,
        row_id AS event_id,
        patient,
        start_at::date,
        total_cost,
        claim_total,
        payer_coverage,
        charge_count,
        charge,
        paid,
        paid_by_payer,
        copay,
        billed_to_patient,
        CASE WHEN charge_count IS NOT NULL THEN 0 END
    FROM item_match
    WHERE row_id IS NOT NULL
),

event_day AS (
    SELECT DISTINCT
        patients.row_id AS person_id,
        priced_event.patient,
        priced_event.start_date
    FROM priced_event
    INNER JOIN patients
        ON priced_event.patient = patients.id
),

payer_day AS (
    -- Of several periods that hold the day, the one that began last.
    SELECT DISTINCT ON (event_day.person_id, event_day.start_date)
        event_day.person_id,
        event_day.patient,
        event_day.start_date,
        payer_plan_period.payer_plan_period_id
    FROM event_day
    LEFT JOIN payer_plan_period
        ON
            event_day.person_id = payer_plan_period.person_id
            AND event_day.start_date BETWEEN payer_plan_period.payer_plan_period_start_date
            AND payer_plan_period.payer_plan_period_end_date
    ORDER BY
        event_day.person_id ASC,
        event_day.start_date ASC,
        payer_plan_period.payer_plan_period_start_date DESC,
        payer_plan_period.payer_plan_period_end_date ASC,
        payer_plan_period.payer_source_value COLLATE "C",
        payer_plan_period.plan_source_value COLLATE "C",
        payer_plan_period.family_source_value COLLATE "C",
        payer_plan_period.payer_plan_period_id ASC
)

INSERT INTO cost (
    cost_id,
    cost_event_id,
    cost_domain_id,
    cost_type_concept_id,
    currency_concept_id,
    total_charge,
    total_cost,
    total_paid,
    paid_by_payer,
    paid_by_patient,
    paid_patient_copay,
    payer_plan_period_id,
    person_id
)
SELECT
    priced_event.row_id AS cost_id,
    priced_event.event_id AS cost_event_id,
    priced_event.domain_id AS cost_domain_id,
    CASE
        WHEN priced_event.charge_count > 0
            THEN (
                SELECT fixed_concept.concept_id FROM fixed_concept
                WHERE fixed_concept.fixed_concept_id = 32810 -- Claim
            )
        ELSE (
            SELECT fixed_concept.concept_id FROM fixed_concept
            WHERE fixed_concept.fixed_concept_id = 32814 -- Cost record
        )
    END AS cost_type_concept_id,
    (
        SELECT fixed_concept.concept_id FROM fixed_concept
        WHERE fixed_concept.fixed_concept_id = 44818668 -- United States dollar
    ) AS currency_concept_id,
    -- an export without the file of transactions still says what the claim came to and what the payer covers of it
    CASE
        WHEN claim_person.patient IS NULL THEN priced_event.claim_total
        ELSE priced_event.charge
    END AS total_charge,
    priced_event.total_cost,
    coalesce(priced_event.paid, priced_event.unpaid) AS total_paid,
    CASE
        WHEN claim_person.patient IS NULL THEN priced_event.payer_coverage
        ELSE coalesce(priced_event.paid_by_payer, priced_event.unpaid)
    END AS paid_by_payer,
    CASE
        WHEN claim_person.patient IS NULL THEN priced_event.claim_total - priced_event.payer_coverage
        ELSE coalesce(
            priced_event.billed_to_patient + priced_event.copay,
            priced_event.billed_to_patient,
            priced_event.copay,
            priced_event.unpaid
        )
    END AS paid_by_patient,
    coalesce(priced_event.copay, priced_event.unpaid) AS paid_patient_copay,
    payer_day.payer_plan_period_id,
    payer_day.person_id
FROM priced_event
INNER JOIN payer_day
    ON
        priced_event.patient = payer_day.patient
        AND priced_event.start_date = payer_day.start_date
LEFT JOIN claim_person
    ON priced_event.patient = claim_person.patient;
