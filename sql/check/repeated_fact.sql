-- Links between facts that are there twice.
-- grain: one row per link
-- reads: fact_relationship
-- scope: person
-- denominator: fact_relationship
-- severity: fail
-- source: docs/mapping/fact_relationship.md
SELECT fact_id_1
FROM fact_relationship
GROUP BY
    domain_concept_id_1,
    fact_id_1,
    domain_concept_id_2,
    fact_id_2,
    relationship_concept_id
HAVING count(*) > 1
