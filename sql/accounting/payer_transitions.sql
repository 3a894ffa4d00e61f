-- Payer transitions by whether a payer_plan_period of the person holds their first day, which the CDM's time zone may move by one.
-- grain: one row per outcome
-- counts: payer_transitions
-- source: docs/mapping/payer_plan_period.md (transitions that touch are one period)
SELECT
    CASE
        WHEN
            EXISTS (
                SELECT
                FROM patients
                INNER JOIN payer_plan_period
                    ON patients.row_id = payer_plan_period.person_id
                WHERE
                    patients.id = counted.patient
                    -- the year of birth begins with the birth
                    AND CASE
                        WHEN counted.start_date = date_trunc('year', patients.birthdate::timestamp) THEN patients.birthdate::date
                        ELSE counted.start_date::date
                    END BETWEEN payer_plan_period.payer_plan_period_start_date - 1
                    AND payer_plan_period.payer_plan_period_end_date + 1
            )
            THEN 'payer_plan_period'
        ELSE 'unexplained'
    END AS outcome,
    count(*) AS row_count
FROM counted
GROUP BY outcome
