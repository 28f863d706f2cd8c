-- What the database has been migrated to; the rows are written by outreach/migrate.py.

-- name: list_applied
-- Readable by everybody, so that any process can say whether the schema is current.
select id, sha256 from schema_marks where rolled_back_at is null order by id;
