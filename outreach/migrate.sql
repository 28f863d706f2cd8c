-- The record of applied migrations: ours (`schema_marks`), read beside yoyo's.

-- name: find_tables
-- Which of the three tables exist yet; a new database has none.
select
  to_regclass('schema_marks') is not null,
  to_regclass('_yoyo_migration') is not null,
  to_regclass('_yoyo_log') is not null;

-- name: list_marks
-- Our marks, those of migrations taken back included.
select id, sha256, rolled_back_at from schema_marks order by id;

-- name: list_yoyo_marks
-- What yoyo takes for applied.
select migration_id from _yoyo_migration order by migration_id;

-- name: list_rolled_back_by_hand
-- Migrations that we hold for applied and that yoyo's own command rolled back since.
select m.id from schema_marks m
where m.rolled_back_at is null
  and exists (
    select from _yoyo_log l
    where l.migration_id = m.id and l.operation = 'rollback'
      and l.created_at_utc > m.applied_at at time zone 'UTC')
order by m.id;

-- name: mark_applied
-- Inside the migration's own transaction, so that the mark is true whenever we are killed.
insert into schema_marks (id, sha256, applied_at)
values (%(id)s::text, %(sha256)s::bytea, %(at)s::timestamptz)
on conflict (id) do update
set sha256 = excluded.sha256, applied_at = excluded.applied_at, rolled_back_at = null;

-- name: mark_rolled_back
-- Inside the rollback's own transaction. The row stays, to tell this from a migration that
-- yoyo's own command applied and that we never saw.
update schema_marks set rolled_back_at = %(at)s::timestamptz where id = %(id)s::text;

-- name: try_lock
-- At once, never waiting: a session that waits holds a snapshot, on which a concurrent index
-- build of the migration that runs would wait in turn.
select pg_try_advisory_lock(%(key)s::bigint);

-- name: end_orphans
-- Sessions of a migrator that was killed. Only the holder of the lock may ask: then no living
-- migrator has one.
select pg_terminate_backend(pid) from pg_stat_activity
where application_name = %(application)s::text
  and datname = current_database()
  and usename = current_user
  and pid <> pg_backend_pid();
