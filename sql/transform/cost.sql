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
-- What one claim says of one code at one time: a charge with its payments. Sorted, which the index of claim lines does nearly, the lines of an
-- item follow one another; a hash table of sums takes 430 MB of a load of 1 GB, and longer. The filters spare sums of nothing.
CREATE TEMP TABLE claim_item ON COMMIT DROP AS
WITH line AS (
    SELECT
        patient,
        encounter,
        start_at,
        code,
        claimid,
        is_charge,
        charge,
        paid,
        paid_by_payer,
        copay,
        billed_to_patient
    FROM claim_line
    ORDER BY
        patient,
        encounter,
        start_at,
        code,
        claimid
)

SELECT
    patient,
    encounter,
    start_at,
    code,
    claimid,
    count(*) OVER (PARTITION BY patient, encounter, start_at, code) AS claim_count,
    count(*) FILTER (WHERE is_charge) AS charge_count,
    sum(charge) FILTER (WHERE charge IS NOT NULL) AS charge,
    sum(paid) FILTER (WHERE paid IS NOT NULL) AS paid,
    sum(paid_by_payer) FILTER (WHERE paid_by_payer IS NOT NULL) AS paid_by_payer,
    sum(copay) FILTER (WHERE copay IS NOT NULL) AS copay,
    sum(billed_to_patient) FILTER (WHERE billed_to_patient IS NOT NULL) AS billed_to_patient
FROM line
GROUP BY
    patient,
    encounter,
    start_at,
    code,
    claimid;

ANALYZE claim_item (encounter, charge_count, claim_count);

-- A claim that charges one code several times at once gives one item per charge: the nth line of each kind belongs to the nth charge.
WITH repeated_item AS (
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
        AND code IS NOT NULL
        AND start_at IS NOT NULL
),

numbered_line AS (
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
),

item_among_others AS (
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
        billed_to_patient
    FROM claim_item
    WHERE
        (
            charge_count <= 1
            OR encounter IS NULL
            OR code IS NULL
            OR start_at IS NULL
        )
        AND (
            charge_count > 1
            OR claim_count > 1
        )
    UNION ALL
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
        charge_number
),

ranked_item AS (
    -- Nearly every item is the only one of its encounter, code and start; only the others are worth sorting.
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
        1 AS item_rank
    FROM claim_item
    WHERE
        charge_count <= 1
        AND claim_count = 1
    UNION ALL
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
            PARTITION BY patient, encounter, start_at, code
            ORDER BY charge, paid, paid_by_payer, copay, billed_to_patient, claimid
        ) AS item_rank
    FROM item_among_others
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
            PARTITION BY patient, encounter, start_at, code
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
),

item_match AS (
    -- Items and priced rows of one encounter, code and start meet in content order; an item that meets none belongs to the visit.
    SELECT
        ranked_row.domain_id,
        ranked_row.row_id,
        coalesce(ranked_row.patient, ranked_item.patient) AS patient,
        coalesce(ranked_row.encounter, ranked_item.encounter) AS encounter,
        ranked_row.start_at,
        ranked_row.total_cost,
        ranked_row.claim_total,
        ranked_row.payer_coverage,
        ranked_item.claimid,
        ranked_item.charge_count,
        ranked_item.charge,
        ranked_item.paid,
        ranked_item.paid_by_payer,
        ranked_item.copay,
        ranked_item.billed_to_patient
    FROM ranked_row
    FULL JOIN ranked_item
        ON
            ranked_row.patient = ranked_item.patient
            AND ranked_row.encounter = ranked_item.encounter
            AND ranked_row.start_at = ranked_item.start_at
            AND ranked_row.code = ranked_item.code
            AND ranked_row.row_rank = ranked_item.item_rank
),

unmatched_item AS (
    -- Without an encounter in its lines, an item is of its claim's.
    SELECT
        patient,
        encounter,
        charge_count,
        charge,
        paid,
        paid_by_payer,
        copay,
        billed_to_patient
    FROM item_match
    WHERE
        row_id IS NULL
        AND encounter IS NOT NULL
    UNION ALL
    SELECT
        item_match.patient,
        claims.appointmentid,
        item_match.charge_count,
        item_match.charge,
        item_match.paid,
        item_match.paid_by_payer,
        item_match.copay,
        item_match.billed_to_patient
    FROM item_match
    INNER JOIN claims
        ON
            item_match.claimid = claims.id
            AND item_match.patient = claims.patientid
    WHERE
        item_match.row_id IS NULL
        AND item_match.encounter IS NULL
),

visit_item AS (
    SELECT
        patient,
        encounter,
        max(charge_count) AS charge_count,
        sum(charge) AS charge,
        sum(paid) AS paid,
        sum(paid_by_payer) AS paid_by_payer,
        sum(copay) AS copay,
        sum(billed_to_patient) AS billed_to_patient
    FROM unmatched_item
    GROUP BY
        patient,
        encounter
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

period AS (
    SELECT
        payer_plan_period_id,
        person_id,
        payer_plan_period_start_date AS start_date,
        payer_plan_period_end_date AS end_date,
        payer_source_value,
        plan_source_value,
        family_source_value
    FROM payer_plan_period
),

period_change AS (
    -- The days on which a person's periods begin or are over: until the next of them every day is in the same periods.
    SELECT
        person_id,
        start_date AS first_day
    FROM period
    UNION
    SELECT
        person_id,
        end_date + 1
    FROM period
),

stretch AS (
    SELECT
        person_id,
        first_day,
        lead(first_day, 1, 'infinity') OVER (PARTITION BY person_id ORDER BY first_day) AS next_day
    FROM period_change
),

payer_stretch AS (
    -- Of several periods that hold a day, the one that began last.
    SELECT DISTINCT ON (stretch.person_id, stretch.first_day)
        stretch.person_id,
        stretch.first_day,
        stretch.next_day,
        period.payer_plan_period_id
    FROM stretch
    INNER JOIN period
        ON
            stretch.person_id = period.person_id
            AND stretch.first_day BETWEEN period.start_date AND period.end_date
    ORDER BY
        stretch.person_id ASC,
        stretch.first_day ASC,
        period.start_date DESC,
        period.end_date ASC,
        period.payer_source_value COLLATE "C",
        period.plan_source_value COLLATE "C",
        period.family_source_value COLLATE "C",
        period.payer_plan_period_id ASC
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
    payer_stretch.payer_plan_period_id,
    patients.row_id AS person_id
FROM priced_event
INNER JOIN patients
    ON priced_event.patient = patients.id
LEFT JOIN payer_stretch
    ON
        patients.row_id = payer_stretch.person_id
        AND priced_event.start_date >= payer_stretch.first_day
        AND priced_event.start_date < payer_stretch.next_day
LEFT JOIN claim_person
    ON priced_event.patient = claim_person.patient;
