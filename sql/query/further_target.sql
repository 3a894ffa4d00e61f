-- Ids for the rows of one CDM table by which a coded source row has more than one there; the first has the source row's own.
-- reads: clinical_event; parameter: table_name
INSERT INTO new_content_id (id_key)
SELECT clinical_event.id_key
FROM clinical_event
WHERE
    clinical_event.target_table = %(table_name)s
    AND clinical_event.target_rank > 1
    AND NOT EXISTS (
        SELECT
        FROM content_id
        WHERE content_id.id_key = clinical_event.id_key
    );
