-- What outside the vocabulary's own tables hangs on them and must be made again when they are exchanged.
-- grain: one row per view, foreign key or grant; undo and redo are statements
WITH RECURSIVE vocabulary_table AS (
    SELECT
        relation.oid,
        relation.relname,
        relation.relowner,
        relation.relacl,
        namespace.nspname
    FROM pg_catalog.pg_class AS relation
    INNER JOIN pg_catalog.pg_namespace AS namespace
        ON relation.relnamespace = namespace.oid
    WHERE
        namespace.nspname = %(schema)s -- noqa: RF02, a parameter
        AND relation.relname = any(%(tables)s::text[]) -- noqa: RF02, a parameter
        AND relation.relkind IN ('r', 'p')
),

dependent_view AS (
    SELECT oid
    FROM vocabulary_table
    UNION
    SELECT rule.ev_class
    FROM dependent_view AS parent
    INNER JOIN pg_catalog.pg_depend AS dependency
        ON
            parent.oid = dependency.refobjid
            AND dependency.refclassid = 'pg_catalog.pg_class'::regclass
            AND dependency.classid = 'pg_catalog.pg_rewrite'::regclass
    INNER JOIN pg_catalog.pg_rewrite AS rule
        ON dependency.objid = rule.oid
    INNER JOIN pg_catalog.pg_class AS relation
        ON rule.ev_class = relation.oid
    WHERE relation.relkind = 'v'
)

SELECT
    1 AS step,
    relation.oid::bigint AS place,
    format('DROP VIEW %%I.%%I', namespace.nspname, relation.relname) AS undo,
    format('CREATE VIEW %%I.%%I AS %%s', namespace.nspname, relation.relname, pg_catalog.pg_get_viewdef(relation.oid)) AS redo
FROM dependent_view
INNER JOIN pg_catalog.pg_class AS relation
    ON dependent_view.oid = relation.oid
INNER JOIN pg_catalog.pg_namespace AS namespace
    ON relation.relnamespace = namespace.oid
WHERE relation.relkind = 'v'
UNION ALL
SELECT
    2 AS step,
    foreign_key.oid::bigint AS place,
    format('ALTER TABLE %%s DROP CONSTRAINT %%I', foreign_key.conrelid::regclass, foreign_key.conname) AS undo,
    format(
        'ALTER TABLE %%s ADD CONSTRAINT %%I %%s%%s',
        foreign_key.conrelid::regclass,
        foreign_key.conname,
        pg_catalog.pg_get_constraintdef(foreign_key.oid),
        -- Rows of the last run may hold concepts that are gone; the next run writes them anew.
        CASE WHEN foreign_key.convalidated THEN ' NOT VALID' ELSE '' END
    ) AS redo
FROM pg_catalog.pg_constraint AS foreign_key
WHERE
    foreign_key.contype = 'f'
    AND foreign_key.confrelid IN (SELECT vocabulary_table.oid FROM vocabulary_table)
    AND foreign_key.conrelid NOT IN (SELECT vocabulary_table.oid FROM vocabulary_table)
UNION ALL
SELECT
    3 AS step,
    vocabulary_table.oid::bigint AS place,
    NULL AS undo,
    format(
        'GRANT %%s ON %%I.%%I TO %%s',
        privilege.privilege_type,
        vocabulary_table.nspname,
        vocabulary_table.relname,
        CASE WHEN privilege.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_catalog.pg_get_userbyid(privilege.grantee)) END
    ) AS redo
FROM vocabulary_table
CROSS JOIN LATERAL aclexplode(vocabulary_table.relacl) AS privilege
WHERE privilege.grantee <> vocabulary_table.relowner
ORDER BY step, place, redo;
