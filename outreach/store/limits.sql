-- What a tenant or an operator has set for the limits, and what must be looked at again after that.

-- name: set_limit
-- Sets the given windows of one scope and key. Given none, or one that is off, see core/limits.py:
-- off takes the place of every window, and a window given later ends it. The warm-up is a window here.
insert into send_rate_limits as l (
  tenant_id, scope, key, per_minute_max, per_hour_max, per_day_max, concurrent_max, is_off, warmup_max, bounce_percent_max,
  complaint_percent_max)
values (
  %(tenant_id)s::uuid, %(scope)s::text, %(key)s::text, %(per_minute)s::integer, %(per_hour)s::integer,
  %(per_day)s::integer, %(concurrent)s::integer, %(is_off)s::boolean, %(warm_up)s::integer, %(bounce_percent)s::float8,
  %(complaint_percent)s::float8)
on conflict (tenant_id, scope, key) do update
set per_minute_max = coalesce(excluded.per_minute_max, case when not excluded.is_off then l.per_minute_max end),
  per_hour_max = coalesce(excluded.per_hour_max, case when not excluded.is_off then l.per_hour_max end),
  per_day_max = coalesce(excluded.per_day_max, case when not excluded.is_off then l.per_day_max end),
  warmup_max = coalesce(excluded.warmup_max, case when not excluded.is_off then l.warmup_max end),
  concurrent_max = coalesce(excluded.concurrent_max, l.concurrent_max),
  bounce_percent_max = coalesce(excluded.bounce_percent_max, l.bounce_percent_max),
  complaint_percent_max = coalesce(excluded.complaint_percent_max, l.complaint_percent_max),
  is_off = case
    when excluded.is_off then true
    when coalesce(excluded.per_minute_max, excluded.per_hour_max, excluded.per_day_max, excluded.warmup_max) is not null then false
    else l.is_off
  end,
  updated_at = now()
returning l.scope, l.key, l.per_minute_max, l.per_hour_max, l.per_day_max, l.concurrent_max, l.is_off, l.warmup_max,
  l.bounce_percent_max, l.complaint_percent_max

-- name: set_installation_limit
-- As set_limit, for what all tenants share. As the operator.
update installation i
set per_minute_max = coalesce(%(per_minute)s::integer, case when not %(is_off)s::boolean then i.per_minute_max end),
  per_hour_max = coalesce(%(per_hour)s::integer, case when not %(is_off)s::boolean then i.per_hour_max end),
  per_day_max = coalesce(%(per_day)s::integer, case when not %(is_off)s::boolean then i.per_day_max end),
  concurrent_max = coalesce(%(concurrent)s::integer, i.concurrent_max),
  is_limit_off = case
    when %(is_off)s::boolean then true
    when coalesce(%(per_minute)s::integer, %(per_hour)s::integer, %(per_day)s::integer) is not null then false
    else i.is_limit_off
  end,
  updated_at = now()
returning 'installation' as scope, '' as key, per_minute_max, per_hour_max, per_day_max, concurrent_max, is_limit_off as is_off,
  null::integer as warmup_max, null::float8 as bounce_percent_max, null::float8 as complaint_percent_max

-- name: unset_limit
-- Takes the rule of one scope and key away, and returns it as it was; nothing when there is none.
delete from send_rate_limits
where tenant_id = %(tenant_id)s::uuid and scope = %(scope)s::text and key = %(key)s::text
returning scope, key, per_minute_max, per_hour_max, per_day_max, concurrent_max, is_off, warmup_max, bounce_percent_max,
  complaint_percent_max

-- name: unset_installation_limit
-- As unset_limit, for what all tenants share: its columns are as in a new installation. As the operator.
with was as (
  select per_minute_max, per_hour_max, per_day_max, concurrent_max, is_limit_off
  from installation
  where is_limit_off or num_nonnulls(per_minute_max, per_hour_max, per_day_max, concurrent_max) > 0
  for no key update
)
update installation i
set per_minute_max = null, per_hour_max = null, per_day_max = null, concurrent_max = null, is_limit_off = false,
  updated_at = now()
from was
returning 'installation' as scope, '' as key, was.per_minute_max, was.per_hour_max, was.per_day_max, was.concurrent_max,
  was.is_limit_off as is_off, null::integer as warmup_max, null::float8 as bounce_percent_max,
  null::float8 as complaint_percent_max

-- name: get_installation_limit
-- The installation's row, in the same shape.
select 'installation' as scope, '' as key, per_minute_max, per_hour_max, per_day_max, concurrent_max, is_limit_off as is_off,
  null::integer as warmup_max, null::float8 as bounce_percent_max, null::float8 as complaint_percent_max
from installation

-- name: list_limits
-- Everything that the tenant has set.
select scope, key, per_minute_max, per_hour_max, per_day_max, concurrent_max, is_off, warmup_max, bounce_percent_max,
  complaint_percent_max
from send_rate_limits
where tenant_id = %(tenant_id)s::uuid
order by scope, key
limit %(rows_max)s::integer

-- name: list_brakes
-- The tenant's senders by address, with what bounds them beside their windows, and what became of their mail.
select s.id, s.from_email, s.ip_pool, s.first_sent_at, s.warmup_lost_seconds, s.reputation::text, s.reputation_at,
  tally.settled, tally.bounced, tally.complained
from sender_identities s
cross join lateral (
  select coalesce(sum(o.settled), 0)::integer as settled, coalesce(sum(o.bounced), 0)::integer as bounced,
    coalesce(sum(o.complained), 0)::integer as complained
  from sender_outcomes o
  where o.tenant_id = s.tenant_id and o.sender_id = s.id and o.hour_at > now() - make_interval(hours => %(hours)s::integer)
) tally
where s.tenant_id = %(tenant_id)s::uuid
order by lower(s.from_email)
limit %(rows_max)s::integer

-- name: list_running
-- Requests on their way, of each sender; those of everybody under no sender. As the worker.
select m.sender_id, count(*)::integer as requests
from send_attempts a
join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
where a.tenant_id = %(tenant_id)s::uuid and a.outcome = 'armed'
group by m.sender_id
union all
select null, attempts_armed()::integer

-- name: list_counters_in_use
-- The tenant's counters with tokens that may still count, those of domains by how full they are.
select scope, key, window_seconds, bucket_at, bucket_used
from rate_limit_counters
where tenant_id = %(tenant_id)s::uuid and updated_at > now() - make_interval(secs => window_seconds + 1500)
order by scope = 'domain', bucket_used[cardinality(bucket_used)] desc nulls last, key, window_seconds
limit %(rows_max)s::integer

-- name: end_limit_holds_of_tenant
-- Every hold by a limit is decided anew: one that still binds is opened again.
update send_holds
set ended_at = now(), updated_at = now()
where tenant_id = %(tenant_id)s::uuid and (reason like 'limit%%' or reason = 'reputation_slowed') and ended_at is null

-- name: recall_promised_actions
-- Sends that a limit had put off are due now; the claim puts off again what still has no token.
with put_off as (
  select a.id
  from scheduled_actions a
  where a.tenant_id = %(tenant_id)s::uuid and a.state = 'pending' and a.kind = 'send' and a.held_by is null
    and a.priority >= 0 and a.due_at > now()
    and exists (
      select from send_refusals r
      where r.tenant_id = a.tenant_id and r.action_id = a.id and r.verdict = 'hold' and r.reason like 'limit%%'
        and r.until = a.due_at
    )
  order by a.id
  for no key update of a
)
update scheduled_actions a
set due_at = now(), updated_at = now()
from put_off p
where a.tenant_id = %(tenant_id)s::uuid and a.id = p.id

-- name: forget_promises
-- Moments promised under the old limits no longer push later ones back. As the worker.
update rate_limit_counters
set promised_until = null, updated_at = updated_at
where tenant_id = %(tenant_id)s::uuid and promised_until is not null

-- name: unpark_tenant
-- The sweep looks at the tenant at once.
update tenants
set parked_until = null, updated_at = now()
where id = %(tenant_id)s::uuid and parked_until is not null

-- name: lock_pace
-- Claims of all tenants one after the other from here to their commit, so that the next count sees what
-- each has armed. Only where the installation has a maximum of requests at one time.
select pg_advisory_xact_lock(hashtextextended('installation-pace', 1))

-- name: count_everybodys
-- Requests on their way, over all tenants. As the worker.
select attempts_armed()::integer
