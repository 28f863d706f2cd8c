-- The fence against data loss: which database this is, what was approved, what workers have seen.

-- name: read_identity
-- Which run of which server answers, and which of its databases. Needs no right but to connect.
select c.system_identifier, d.oid::bigint as database,
  ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int as timeline,
  pg_postmaster_start_time() as started_at
from pg_control_system() c
cross join pg_database d
where d.datname = current_database();

-- name: read_fence
-- The fence as it stands, without a lock.
select data_loss_held_at as held_at, data_loss_reason as reason, data_loss_detail as detail,
  fence_system_identifier as system_identifier, fence_database as database, fence_timeline as timeline,
  fence_started_at as started_at, fence_epoch as epoch, fence_approved_at as approved_at,
  coalesce(failover_expected_until > now(), false) as is_failover_expected
from installation;

-- name: set_run_if_open
-- The run was looked at and may send. Nothing changes while a loss is held, nor where another came first.
-- Waits for claims that share the row.
update installation
set fence_system_identifier = %(system_identifier)s::bigint, fence_database = %(database)s::bigint,
  fence_timeline = %(timeline)s::integer, fence_started_at = %(started_at)s::timestamptz,
  fence_approved_at = coalesce(fence_approved_at, now()), updated_at = now()
where data_loss_held_at is null
  and (fence_started_at, fence_database, fence_timeline)
    is distinct from (%(started_at)s::timestamptz, %(database)s::bigint, %(timeline)s::integer);

-- name: set_held_if_open
-- From its commit on no claim arms anything: each shares this row, and reads the hold from it.
update installation
set data_loss_held_at = clock_timestamp(), data_loss_reason = %(reason)s::text, data_loss_detail = %(detail)s::jsonb,
  updated_at = now()
where data_loss_held_at is null;

-- name: approve
-- An operator has looked: this run is the one that counts, and older marks say nothing any more. As the operator.
update installation
set data_loss_held_at = null, data_loss_reason = null, data_loss_detail = '{}', failover_expected_until = null,
  fence_system_identifier = %(system_identifier)s::bigint, fence_database = %(database)s::bigint,
  fence_timeline = %(timeline)s::integer, fence_started_at = %(started_at)s::timestamptz,
  fence_epoch = fence_epoch + 1, fence_approved_at = now(), updated_at = now();

-- name: expect_failover
-- Until then a promotion is believed where no worker misses anything. As the operator.
update installation
set failover_expected_until = now() + make_interval(secs => %(seconds)s::double precision), updated_at = now()
returning failover_expected_until;

-- name: pulse
-- This worker has seen the database come this far; sequences only rise.
insert into fence_pulses as p (worker_id, sequence, proven_started_at)
values (%(worker_id)s::uuid, %(sequence)s::bigint, %(started_at)s::timestamptz)
on conflict (worker_id) do update
set sequence = greatest(p.sequence, excluded.sequence), pulsed_at = now(), ended_at = null,
  proven_started_at = excluded.proven_started_at, updated_at = now();

-- name: end_pulse
-- It ends in good order.
update fence_pulses set ended_at = now(), updated_at = now() where worker_id = %(worker_id)s::uuid;

-- name: list_pulses
-- How far these workers had come, as far as the database knows.
select p.worker_id, p.sequence from fence_pulses p where p.worker_id = any (%(worker_ids)s::uuid[]);

-- name: list_missing_attempts
-- The places, from 1, of those attempts that the ledger does not know.
select m.place from attempts_missing(%(tenant_ids)s::uuid[], %(message_ids)s::uuid[], %(attempts)s::smallint[]) as m (place);

-- name: prove
-- Nothing that these workers remember is missing in this run.
update fence_pulses
set proven_started_at = %(started_at)s::timestamptz, updated_at = now()
where worker_id = any (%(worker_ids)s::uuid[]);

-- name: count_unproven
-- Workers that were alive at the last moment that anybody noted, and have not looked at this run yet.
select count(*)
from fence_pulses p
where p.ended_at is null and p.proven_started_at is distinct from %(started_at)s::timestamptz
  and p.pulsed_at > (select max(pulsed_at) from fence_pulses) - make_interval(secs => %(alive_seconds)s::double precision);

-- name: prune_pulses_before
-- Forgets workers that nobody has heard of for so many days.
delete from fence_pulses where pulsed_at < now() - make_interval(days => %(days)s::int);
