-- name: begin_claim
-- Act as a worker for the tenant, and wait for its lock, held to the end of the transaction. What the
-- next statements see was committed before the lock was ours. A process that freezes here loses it.
select set_config('role', 'outreach_worker', true), set_config('app.tenant_id', %(tenant_id)s::text, true),
  set_config('idle_in_transaction_session_timeout', '60s', true),
  pg_advisory_xact_lock(hashtextextended(%(tenant_id)s::text, 1));

-- name: read_budget
-- What bounds this batch as a whole: pauses, the provider, and the tokens of tenant and installation.
-- Read after the lock, so that the clock of `granted_at` never runs behind an earlier grant's. Shares the
-- rows of tenant and installation: a pause of either has committed before, or waits for this claim.
select
  clock_timestamp() as granted_at,
  t.state as tenant_state,
  t.name as tenant_name,
  t.postal_address,
  t.allows_risky_addresses,
  t.is_tracking_opens,
  t.is_tracking_clicks,
  t.weight,
  i.state as installation_state,
  coalesce(i.data_loss_held_at is not null or i.fence_started_at <> pg_postmaster_start_time()
    or i.fence_database <> (select d.oid::bigint from pg_database d where d.datname = current_database()), false) as is_fenced,
  i.provider_paused_at,
  i.provider_later_until,
  array[i.per_minute_max, i.per_hour_max, i.per_day_max] as installation_caps,
  i.concurrent_max as installation_concurrent,
  i.is_limit_off as installation_is_off,
  array[l.per_minute_max, l.per_hour_max, l.per_day_max] as tenant_caps,
  l.concurrent_max as tenant_concurrent,
  coalesce(l.is_off, false) as tenant_is_off,
  array(
    select coalesce((
      select live_tokens(c.bucket_at, c.bucket_used, expired_bucket(clock_timestamp(), w.seconds)) from rate_limit_counters c
      where c.tenant_id = t.id and c.scope = 'tenant' and c.key = '' and c.window_seconds = w.seconds
    ), 0)
    from unnest(array[60, 3600, 86400]) as w (seconds)
  ) as tenant_live,
  array(
    select coalesce((
      select live_tokens(c.bucket_at, c.bucket_used, expired_bucket(clock_timestamp(), w.seconds)) from installation_counters c
      where c.window_seconds = w.seconds
    ), 0)
    from unnest(array[60, 3600, 86400]) as w (seconds)
  ) as installation_live,
  case when l.concurrent_max is null then 0 else (
    select count(*) from send_attempts a where a.tenant_id = t.id and a.outcome = 'armed'
  ) end as tenant_armed,
  case when i.concurrent_max is null then 0 else attempts_armed() end as installation_armed,
  exists (
    select from webhook_deliveries d
    where d.state = 'received' and d.received_at < clock_timestamp() - make_interval(secs => %(unheard_seconds)s::float8)
  ) or exists (
    select from inbound_messages d
    where d.state = 'received' and d.received_at < clock_timestamp() - make_interval(secs => %(unheard_seconds)s::float8)
  ) as is_behind,
  exists (
    select from send_holds h
    where h.tenant_id = t.id and h.scope in ('tenant', 'installation') and h.ended_at is null
      and (h.reason like 'limit%%' or h.reason in ('provider_later', 'data_loss_hold'))
  ) as is_held_by_limit
from tenants t
cross join installation i
left join send_rate_limits l on l.tenant_id = t.id and l.scope = 'tenant' and l.key = ''
where t.id = %(tenant_id)s::uuid
for share of t, i;

-- name: list_lanes
-- Each sender that has something due, with the tokens that it has left; reads one action a lane, from its
-- floor on. A cap of 2147483647 is none. The floor's coalesce stands in a step of its own: among an index's
-- conditions, row level security would have it filter the dead instead of passing over them.
with floor as materialized (
  select s.id as sender_id, p.priority, f.updated_at < now() - interval '1 second' as is_old,
    coalesce(f.due_at, '-infinity') as due_at, coalesce(f.action_id, '00000000-0000-0000-0000-000000000000') as action_id
  from sender_identities s
  cross join (values (0::smallint), (1::smallint)) as p (priority)
  left join lane_floors f on f.tenant_id = s.tenant_id and f.sender_id = s.id and f.priority = p.priority
  where s.tenant_id = %(tenant_id)s::uuid
),
head as materialized (
  select f.sender_id, min(a.due_at) as due_at,
    coalesce(bool_or(f.is_old and (a.due_at, a.id) > (f.due_at, f.action_id)), false) as is_floor_low
  from floor f
  cross join lateral (
    select a.due_at, a.id from scheduled_actions a
    where a.tenant_id = %(tenant_id)s::uuid and a.sender_id = f.sender_id and a.priority = f.priority
      and a.state = 'pending' and a.kind = 'send' and a.held_by is null and a.due_at <= now()
      and (a.due_at, a.id) >= (f.due_at, f.action_id)
    order by a.due_at, a.id limit 1
  ) a
  group by f.sender_id
)
select
  s.id as sender_id,
  s.state = 'verified' as is_verified,
  s.paused_at is not null as is_paused,
  caps.minute as minute_cap, caps.hour as hour_cap, caps.day as day_cap,
  coalesce(own.concurrent_max, general.concurrent_max) as concurrent_max,
  least(caps.minute - used.minute, caps.hour - used.hour, caps.day - used.day) as free,
  exists (
    select from send_holds h
    where h.tenant_id = s.tenant_id and h.scope = 'sender' and h.subject_id = s.id and h.ended_at is null
      and (h.reason like 'limit%%' or h.reason = 'reputation_slowed')
  ) as is_held_by_limit,
  case when coalesce(own.concurrent_max, general.concurrent_max) is null then 0 else (
    select count(*) from send_attempts a
    join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
    where a.tenant_id = s.tenant_id and a.outcome = 'armed' and m.sender_id = s.id
  ) end as armed,
  s.reputation, caps.is_warming, caps.warm_seconds, s.ip_pool, s.first_sent_at is null as is_new, head.is_floor_low
from head
join sender_identities s on s.tenant_id = %(tenant_id)s::uuid and s.id = head.sender_id
left join send_rate_limits own on own.tenant_id = s.tenant_id and own.scope = 'sender' and own.key = s.id::text
left join send_rate_limits general on general.tenant_id = s.tenant_id and general.scope = 'sender' and general.key = ''
cross join lateral sender_caps(s, own, general, %(minute_default)s::int, %(hour_default)s::int, %(day_default)s::int,
  %(warmup_default)s::int, statement_timestamp()) caps
cross join lateral used_tokens(s.tenant_id, 'sender', s.id::text, statement_timestamp()) used
where s.tenant_id = %(tenant_id)s::uuid
order by head.due_at;

-- name: raise_floors
-- The floors of what waits for nobody any more: each to the head of its lane, but ten seconds from now, for
-- transactions under way. Waits for no floor that somebody holds, and raises none that was just moved.
with head as materialized (
  select f.sender_id, f.priority, f.due_at as floor_at, f.action_id as floor_id, a.due_at, a.id
  from lane_floors f
  cross join lateral (
    select a.due_at, a.id from scheduled_actions a
    where a.tenant_id = %(tenant_id)s::uuid and a.sender_id = f.sender_id and a.priority = f.priority
      and a.state = 'pending' and a.kind = 'send' and a.held_by is null and a.due_at <= now()
      and (a.due_at, a.id) >= (f.due_at, f.action_id)
    order by a.due_at, a.id limit 1
  ) a
  where f.tenant_id = %(tenant_id)s::uuid
),
free as materialized (
  select f.sender_id, f.priority, h.due_at, h.id
  from head h
  join lane_floors f on f.tenant_id = %(tenant_id)s::uuid and f.sender_id = h.sender_id and f.priority = h.priority
    and f.due_at = h.floor_at and f.action_id = h.floor_id
  for no key update of f skip locked
)
update lane_floors f
set due_at = greatest(f.due_at, least(h.due_at, now() - interval '10 seconds')),
  action_id = case
    when h.due_at < now() - interval '10 seconds' then h.id
    when f.due_at < now() - interval '10 seconds' then '00000000-0000-0000-0000-000000000000'
    else f.action_id end,
  updated_at = now()
from free h
where f.tenant_id = %(tenant_id)s::uuid and f.sender_id = h.sender_id and f.priority = h.priority;

-- name: claim_sends
-- Up to `take` due actions of each sender, those of conversations that run first and then the oldest, with
-- everything that decides. Locks the actions (skip locked), then shares enrollment, campaign and contact,
-- also skip locked: it never waits for a row, and whatever stops a send has either committed before and is
-- seen in the locked row, or holds the row, and the send is left for later.
with head as materialized (
  select q.*
  from unnest(%(sender_ids)s::uuid[], %(takes)s::int[]) as lane (sender_id, take)
  cross join lateral (
    select r.*
    from (values (0::smallint), (1::smallint)) as p (priority)
    cross join lateral (
      select coalesce(max(f.due_at), '-infinity') as due_at,
        coalesce((array_agg(f.action_id))[1], '00000000-0000-0000-0000-000000000000') as action_id
      from lane_floors f
      where f.tenant_id = %(tenant_id)s::uuid and f.sender_id = lane.sender_id and f.priority = p.priority
    ) f
    cross join lateral (
      select a.id, a.enrollment_id, a.sender_id, a.node_id, a.visit, a.message_id, a.due_at
      from scheduled_actions a
      where a.tenant_id = %(tenant_id)s::uuid and a.sender_id = lane.sender_id and a.priority = p.priority
        and a.state = 'pending' and a.kind = 'send' and a.held_by is null and a.due_at <= now()
        and (a.due_at, a.id) >= (f.due_at, f.action_id)
      order by a.due_at, a.id
      limit lane.take
      for update of a skip locked
    ) r
    limit lane.take
  ) q
)
select
  h.id as action_id, h.enrollment_id, h.sender_id, h.node_id, h.visit, h.message_id, h.due_at,
  e.state as enrollment_state, e.current_node_id, (e.visits ->> e.current_node_id)::int as current_visit, e.campaign_id,
  e.plan_version,
  c.state as campaign_state, c.name as campaign_name,
  s.from_email, s.from_name, s.reply_to, s.ip_pool, s.state = 'verified' and s.paused_at is null and s.reputation <> 'stopped' as is_sender_ready,
  k.id as contact_id, k.email, k.email_domain, k.first_name, k.last_name, k.title, k.company, k.phone,
  k.timezone, k.locale, k.country, k.attributes, k.address_verdict, k.erased_at,
  coalesce(k.suppressed_reason, (
    select x.reason from suppressions x
    where x.tenant_id = %(tenant_id)s::uuid and x.channel = 'email' and x.value_key = k.email_key
      and x.lifted_at is null limit 1
  )) as suppressed_reason,
  exists (
    select from suppressions x
    where x.tenant_id = %(tenant_id)s::uuid and x.channel = 'email'
      and x.value_key = '@' || lower(k.email_domain) and x.lifted_at is null
  ) as is_domain_suppressed,
  l.name as lead_name, l.url as lead_url, l.attributes as lead_attributes,
  m.state as message_state, m.attempts, m.subject, m.body_text, m.body_html, m.to_address, m.from_address,
  m.from_name as message_from_name, m.reply_to as message_reply_to
from head h
join enrollments e on e.tenant_id = %(tenant_id)s::uuid and e.id = h.enrollment_id
join campaigns c on c.tenant_id = %(tenant_id)s::uuid and c.id = e.campaign_id
join contacts k on k.tenant_id = %(tenant_id)s::uuid and k.id = e.contact_id
join sender_identities s on s.tenant_id = %(tenant_id)s::uuid and s.id = h.sender_id
left join leads l on l.tenant_id = %(tenant_id)s::uuid and l.id = k.lead_id
left join outbound_messages m on m.tenant_id = %(tenant_id)s::uuid and m.id = h.message_id
for share of e, c, k, s skip locked;

-- name: list_domain_tokens
-- Tokens that each recipient domain has left for this tenant: the least over its windows.
select
  d.domain,
  caps.minute as minute_cap, caps.hour as hour_cap, caps.day as day_cap,
  least(caps.minute - used.minute, caps.hour - used.hour, caps.day - used.day) as free
from unnest(%(domains)s::text[]) as d (domain)
left join send_rate_limits own on own.tenant_id = %(tenant_id)s::uuid and own.scope = 'domain' and own.key = d.domain
left join send_rate_limits general on general.tenant_id = %(tenant_id)s::uuid and general.scope = 'domain' and general.key = ''
cross join lateral (
  select
    cap_in_force(own.per_minute_max, own.is_off, general.per_minute_max, general.is_off, %(minute_default)s::int) as minute,
    cap_in_force(own.per_hour_max, own.is_off, general.per_hour_max, general.is_off, %(hour_default)s::int) as hour,
    cap_in_force(own.per_day_max, own.is_off, general.per_day_max, general.is_off, %(day_default)s::int) as day
) caps
cross join lateral used_tokens(%(tenant_id)s::uuid, 'domain', d.domain, statement_timestamp()) used;

-- name: arm_sends
-- The grant in one statement: new ledger rows, attempts, and their actions claimed. Returns the
-- messages that were armed; one that is missing had been intended before.
with granted as (
  select * from unnest(
    %(action_ids)s::uuid[], %(message_ids)s::uuid[], %(attempts)s::smallint[], %(dedupe_keys)s::text[], %(variant_ids)s::text[],
    %(subjects)s::text[], %(texts)s::text[], %(htmls)s::text[]
  ) as g (action_id, message_id, attempt, dedupe_key, variant_id, subject, body_text, body_html)
),
intended as (
  insert into outbound_messages (
    tenant_id, id, enrollment_id, campaign_id, contact_id, sender_id, action_id, node_id, visit, dedupe_key, variant_id,
    to_address, to_domain, from_address, from_name, reply_to, subject, body_text, body_html, wake_at)
  select a.tenant_id, g.message_id, e.id, e.campaign_id, e.contact_id, a.sender_id, a.id, a.node_id, a.visit, g.dedupe_key,
    g.variant_id, k.email, k.email_domain, s.from_email, s.from_name, s.reply_to, g.subject, g.body_text, g.body_html,
    %(deadline_at)s::timestamptz
  from granted g
  join scheduled_actions a on a.tenant_id = %(tenant_id)s::uuid and a.id = g.action_id
  join enrollments e on e.tenant_id = a.tenant_id and e.id = a.enrollment_id
  join contacts k on k.tenant_id = e.tenant_id and k.id = e.contact_id
  join sender_identities s on s.tenant_id = a.tenant_id and s.id = a.sender_id
  where g.attempt = 1
  on conflict (tenant_id, id) do nothing
  returning id, action_id, 1::smallint as attempt
),
again as (
  update outbound_messages m
  set state = 'sending', attempts = g.attempt, wake_at = %(deadline_at)s::timestamptz, updated_at = now()
  from granted g
  where %(has_retries)s::boolean and g.attempt > 1
    and m.tenant_id = %(tenant_id)s::uuid and m.id = g.message_id and m.state = 'waiting_retry'
  returning m.id, g.action_id, g.attempt
),
armed as (
  select * from intended union all select * from again
),
attempt as (
  insert into send_attempts (tenant_id, message_id, attempt, armed_at, deadline_at)
  select %(tenant_id)s::uuid, id, attempt, %(granted_at)s::timestamptz, %(deadline_at)s::timestamptz from armed
),
claimed as (
  update scheduled_actions a
  set state = 'claimed', message_id = armed.id, updated_at = now()
  from armed
  where a.tenant_id = %(tenant_id)s::uuid and a.id = armed.action_id
)
select id from armed;
