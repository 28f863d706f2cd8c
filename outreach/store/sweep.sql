-- What the wake-ups stand on: what is due over all tenants, and the keeping of procrastinate's own tables.

-- name: list_due_work
-- The tasks that have something to do now, a row each; `tenant_id` is null where one serves all.
with tenant as materialized (
  select tenant_id, has_send, has_timer from tenants_due(%(tenants_max)s::int)
)
select 'send_due' as task, tenant_id from tenant where has_send
union all
select 'fire_timers', tenant_id from tenant where has_timer
union all
select 'apply_events', null where exists (select from webhook_deliveries where state = 'received')
union all
select 'apply_replies', null where exists (select from inbound_messages where state = 'received');

-- name: is_idle
-- Whether nothing can be done now: no delivery to apply, no request under way or unaccounted for, nothing to
-- send by who serves these queues and no timer due but for what the installation or the provider holds back. A tenant that only waits for
-- places among the requests under way is parked for a moment and is not idle.
with gate as (
  select state = 'active' as is_running,
    data_loss_held_at is null and provider_paused_at is null
      and (provider_later_until is null or provider_later_until <= now()) as is_sending
  from installation
)
select not exists (select from webhook_deliveries where state = 'received')
  and not exists (select from inbound_messages where state = 'received')
  and attempts_armed() = 0
  and not exists (
    select from tenants_due(2147483647, make_interval(secs => %(paced_seconds)s::double precision)) t
    cross join gate g
    where g.is_running and (
      t.has_timer or (t.has_send and g.is_sending and coalesce(t.own_queue, %(sends)s::text) = any (%(queues)s::text[]))
    )
  );

-- name: delete_stalled_jobs
-- Removes jobs that nobody runs: their worker is gone or silent, or they started so long ago that their own
-- time limit has ended them and only the note of it was lost. Locks them, skipping those in use.
with stalled as (
  select j.id
  from procrastinate_jobs j
  left join procrastinate_workers w on w.id = j.worker_id
  where j.status = 'doing' and (
    w.id is null
    or w.last_heartbeat < now() - make_interval(secs => %(silent_seconds)s::double precision)
    or not exists (
      select from procrastinate_events e
      where e.job_id = j.id and e.type = 'started' and e.at > now() - make_interval(secs => %(running_seconds)s::double precision)
    )
  )
  order by j.id
  limit %(rows_max)s::int
  for update of j skip locked
)
delete from procrastinate_jobs j using stalled where j.id = stalled.id and j.status = 'doing';

-- name: delete_ended_jobs
-- Removes jobs that ended otherwise than well, some days after their last event.
with ended as (
  select j.id
  from procrastinate_jobs j
  where j.status not in ('todo', 'doing') and not exists (
    select from procrastinate_events e
    where e.job_id = j.id and e.at > now() - make_interval(days => %(days)s::int)
  )
  order by j.id
  limit %(rows_max)s::int
  for update of j skip locked
)
delete from procrastinate_jobs j using ended where j.id = ended.id;

-- name: forget_parking
-- Lets the sweep ask again for tenants parked by a hint that is an hour old: a wrong hint parks nobody for ever.
update tenants
set parked_until = null, updated_at = now()
where parked_until > now() and updated_at < now() - interval '1 hour';

-- name: look_below_floors
-- What a floor hides is found: asks every lane and tenant without it. How many lanes had something hidden.
select look_below_floors(make_interval(secs => %(margin_seconds)s::double precision));

-- name: make_partitions
-- Partitions of events for the months ahead; how many were made.
select make_event_partitions(%(months)s::int);

-- name: read_clock
-- The database's wall clock.
select clock_timestamp();

-- name: learn_statistics
-- Tables that have doubled since the planner last looked are looked at again. In a transaction of its own.
select learn_statistics();
