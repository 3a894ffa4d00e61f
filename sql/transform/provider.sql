-- The individual providers of care.
-- unit: providers
-- grain: one row per provider Id; its attributes from the Id's first row in content order
-- reads: providers (id, organization, name, gender, speciality)
-- reads: organizations (id)
-- writes: provider
-- source: CDM 5.4 specification, PROVIDER; CMS provider specialty codes; docs/mapping/provider.md
WITH specialty_code (specialty_name, medicare_code) AS (
    -- Synthea writes the specialty names of Medicare's provider files.
    VALUES
    ('GENERAL PRACTICE', '1'),
    ('GENERAL SURGERY', '2'),
    ('ALLERGY/IMMUNOLOGY', '3'),
    ('OTOLARYNGOLOGY', '4'),
    ('ANESTHESIOLOGY', '5'),
    ('CARDIOVASCULAR DISEASE (CARDIOLOGY)', '6'),
    ('CARDIOLOGY', '6'),
    ('DERMATOLOGY', '7'),
    ('FAMILY PRACTICE', '8'),
    ('FAMILY MEDICINE', '8'),
    ('INTERVENTIONAL PAIN MANAGEMENT', '9'),
    ('GASTROENTEROLOGY', '10'),
    ('INTERNAL MEDICINE', '11'),
    ('OSTEOPATHIC MANIPULATIVE MEDICINE', '12'),
    ('NEUROLOGY', '13'),
    ('NEUROSURGERY', '14'),
    ('SPEECH LANGUAGE PATHOLOGIST', '15'),
    ('OBSTETRICS/GYNECOLOGY', '16'),
    ('HOSPICE/PALLIATIVE CARE', '17'),
    ('OPHTHALMOLOGY', '18'),
    ('ORAL SURGERY', '19'),
    ('ORTHOPEDIC SURGERY', '20'),
    ('CARDIAC ELECTROPHYSIOLOGY', '21'),
    ('PATHOLOGY', '22'),
    ('SPORTS MEDICINE', '23'),
    ('PLASTIC AND RECONSTRUCTIVE SURGERY', '24'),
    ('PHYSICAL MEDICINE AND REHABILITATION', '25'),
    ('PSYCHIATRY', '26'),
    ('GERIATRIC PSYCHIATRY', '27'),
    ('COLORECTAL SURGERY (PROCTOLOGY)', '28'),
    ('PULMONARY DISEASE', '29'),
    ('DIAGNOSTIC RADIOLOGY', '30'),
    ('ANESTHESIOLOGY ASSISTANT', '32'),
    ('THORACIC SURGERY', '33'),
    ('UROLOGY', '34'),
    ('CHIROPRACTIC', '35'),
    ('NUCLEAR MEDICINE', '36'),
    ('PEDIATRIC MEDICINE', '37'),
    ('GERIATRIC MEDICINE', '38'),
    ('NEPHROLOGY', '39'),
    ('HAND SURGERY', '40'),
    ('OPTOMETRY', '41'),
    ('CERTIFIED NURSE MIDWIFE', '42'),
    ('CERTIFIED REGISTERED NURSE ANESTHETIST', '43'),
    ('INFECTIOUS DISEASE', '44'),
    ('ENDOCRINOLOGY', '46'),
    ('PODIATRY', '48'),
    ('NURSE PRACTITIONER', '50'),
    ('AUDIOLOGIST', '64'),
    ('PHYSICAL THERAPY', '65'),
    ('RHEUMATOLOGY', '66'),
    ('OCCUPATIONAL THERAPY', '67'),
    ('CLINICAL PSYCHOLOGIST', '68'),
    ('REGISTERED DIETITIAN OR NUTRITION PROFESSIONAL', '71'),
    ('PAIN MANAGEMENT', '72'),
    ('PERIPHERAL VASCULAR DISEASE', '76'),
    ('VASCULAR SURGERY', '77'),
    ('CARDIAC SURGERY', '78'),
    ('ADDICTION MEDICINE', '79'),
    ('CLINICAL SOCIAL WORKER', '80'),
    ('CRITICAL CARE (INTENSIVISTS)', '81'),
    ('HEMATOLOGY', '82'),
    ('HEMATOLOGY/ONCOLOGY', '83'),
    ('PREVENTIVE MEDICINE', '84'),
    ('MAXILLOFACIAL SURGERY', '85'),
    ('NEUROPSYCHIATRY', '86'),
    ('CLINICAL NURSE SPECIALIST', '89'),
    ('MEDICAL ONCOLOGY', '90'),
    ('SURGICAL ONCOLOGY', '91'),
    ('RADIATION ONCOLOGY', '92'),
    ('EMERGENCY MEDICINE', '93'),
    ('INTERVENTIONAL RADIOLOGY', '94'),
    ('PHYSICIAN ASSISTANT', '97'),
    ('GYNECOLOGICAL ONCOLOGY', '98'),
    ('SLEEP MEDICINE', 'C0'),
    ('INTERVENTIONAL CARDIOLOGY', 'C3'),
    ('HOSPITALIST', 'C6')
),

specialty AS (
    -- Medicare's code may itself be retired in favour of another vocabulary's concept: 'Maps to' names the standard one.
    SELECT
        specialty_code.specialty_name,
        min(target.concept_id) AS specialty_concept_id
    FROM specialty_code
    INNER JOIN concept AS code
        ON
            specialty_code.medicare_code = code.concept_code
            AND code.vocabulary_id = 'Medicare Specialty'
    INNER JOIN concept_relationship
        ON
            code.concept_id = concept_relationship.concept_id_1
            AND concept_relationship.relationship_id = 'Maps to'
            AND concept_relationship.invalid_reason IS NULL
    INNER JOIN concept AS target
        ON
            concept_relationship.concept_id_2 = target.concept_id
            AND target.domain_id = 'Provider'
            AND target.standard_concept = 'S'
            AND target.invalid_reason IS NULL
    GROUP BY specialty_code.specialty_name
),

gender (gender_code, fixed_concept_id) AS (
    VALUES
    ('M', 8507), -- MALE
    ('F', 8532) -- FEMALE
),

first_provider AS (
    -- The order holds every column that is used: rows that still tie are alike.
    SELECT DISTINCT ON (id)
        id,
        organization,
        name,
        gender,
        speciality,
        min(row_id) OVER (PARTITION BY id) AS provider_id
    FROM providers
    ORDER BY
        id,
        organization,
        name COLLATE "C",
        gender COLLATE "C",
        speciality COLLATE "C"
),

site AS (
    SELECT
        id,
        min(row_id) AS care_site_id
    FROM organizations
    GROUP BY id
)

INSERT INTO provider (
    provider_id,
    provider_name,
    npi,
    dea,
    specialty_concept_id,
    care_site_id,
    year_of_birth,
    gender_concept_id,
    provider_source_value,
    specialty_source_value,
    specialty_source_concept_id,
    gender_source_value,
    gender_source_concept_id
)
SELECT
    first_provider.provider_id,
    left(first_provider.name, 255) AS provider_name,
    NULL AS npi,
    NULL AS dea,
    coalesce(specialty.specialty_concept_id, 0) AS specialty_concept_id,
    site.care_site_id,
    NULL AS year_of_birth,
    coalesce(fixed_concept.concept_id, 0) AS gender_concept_id,
    first_provider.id::text AS provider_source_value,
    left(first_provider.speciality, 50) AS specialty_source_value,
    0 AS specialty_source_concept_id,
    left(first_provider.gender, 50) AS gender_source_value,
    0 AS gender_source_concept_id
FROM first_provider
LEFT JOIN site
    ON first_provider.organization = site.id
LEFT JOIN specialty
    ON upper(first_provider.speciality) = specialty.specialty_name
LEFT JOIN gender
    ON upper(first_provider.gender) = gender.gender_code
LEFT JOIN fixed_concept
    ON gender.fixed_concept_id = fixed_concept.fixed_concept_id;
