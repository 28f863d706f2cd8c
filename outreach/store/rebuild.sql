-- What is stored beside what it is derived from, a page at a time. Reads only; the caller's transaction sees
-- one moment.

-- name: list_enrollments
-- The page after an id. A pause is no step; the hold that it opened says whether it lasts.
select e.id, e.state::text as state, e.current_node_id, e.visits, e.end_reason, e.latest_message_id,
  exists (
    select from send_holds h
    where h.tenant_id = e.tenant_id and h.scope = 'enrollment' and h.subject_id = e.id and h.ended_at is null
  ) as is_held
from enrollments e
where e.tenant_id = %(tenant_id)s::uuid and e.id > %(after)s::uuid
order by e.id
limit %(rows_max)s::int

-- name: list_moves
-- The steps of these enrollments, all or those recorded until a moment. Those that are alike are one row, so
-- there are no more than a plan has transitions.
select t.enrollment_id, t.from_node_id, t.to_node_id, step.end_code, step.end_reason,
  max(t.visit) as visit_max, count(*)::int as times
from campaign_transitions t
cross join lateral (
  select case when t.to_node_id is null then t.code end as end_code, case when t.to_node_id is null then t.reason end as end_reason
) step
where t.tenant_id = %(tenant_id)s::uuid and t.enrollment_id = any (%(enrollment_ids)s::uuid[])
  and t.created_at <= coalesce(%(until)s::timestamptz, 'infinity')
group by t.enrollment_id, t.from_node_id, t.to_node_id, step.end_code, step.end_reason

-- name: list_messages
-- The messages of these enrollments with their attempts, and which kinds of events they have. By index for
-- each message, whatever the planner expects. No event is older than its message's row by more than clock
-- skew, which spares older partitions, but where the row was made anew from its events. Events stay for
-- thirteen months at least.
select m.id, m.enrollment_id, m.state::text as state, m.delivery::text as delivery, m.attempts, m.accepted_attempt,
  a.numbers, a.outcomes, a.statuses, v.event_types, v.told_attempts,
  least(m.created_at, a.armed_at) < now() - interval '13 months' as is_old
from outbound_messages m
cross join lateral (
  select coalesce(array_agg(a.attempt order by a.attempt), '{}') as numbers,
    coalesce(array_agg(a.outcome::text order by a.attempt), '{}') as outcomes,
    coalesce(array_agg(a.http_status order by a.attempt), '{}') as statuses,
    min(a.armed_at) as armed_at
  from send_attempts a
  where a.tenant_id = m.tenant_id and a.message_id = m.id
) a
cross join lateral (
  select coalesce(array_agg(distinct v.event_type::text), '{}') as event_types,
    coalesce(array_agg(distinct v.attempt) filter (where v.provider <> 'outreach' and v.attempt is not null), '{}')
      as told_attempts
  from message_events v
  where v.tenant_id = m.tenant_id and v.outbound_message_id = m.id
    and v.event_at >= case when a.armed_at < m.created_at then '-infinity' else m.created_at - interval '1 day' end
) v
where m.tenant_id = %(tenant_id)s::uuid and m.enrollment_id = any (%(enrollment_ids)s::uuid[])
order by m.enrollment_id, m.created_at, m.id

-- name: list_unmet
-- Events about these enrollments that demand a suppression which was never recorded, or was lifted before they
-- came in; or a step of an enrollment that still goes on and has taken none because of them.
with demand as materialized (
  select * from unnest(
    %(event_types)s::event_type[], %(drop_reasons)s::text[], %(suppressions)s::suppression_reason[], %(steps)s::bool[]
  ) as d (event_type, drop_reason, suppression, is_step)
),
due as (
  select e.id as enrollment_id, e.state, m.to_address, v.provider_event_id, v.created_at, d.suppression, d.is_step
  from enrollments e
  join outbound_messages m on m.tenant_id = e.tenant_id and m.enrollment_id = e.id
  cross join lateral (
    select v.provider_event_id, v.event_type, v.reason, v.created_at
    from message_events v
    where v.tenant_id = m.tenant_id and v.outbound_message_id = m.id
      and v.event_type::text = any (%(event_texts)s::text[])
  ) v
  join demand d on d.event_type = v.event_type and (d.drop_reason is null or d.drop_reason = v.reason)
  where e.tenant_id = %(tenant_id)s::uuid and e.id = any (%(enrollment_ids)s::uuid[])
),
judged as (
  select u.provider_event_id as event_id, u.to_address as address, u.suppression::text as suppression,
    u.suppression is null or position('@' in u.to_address) = 0 or exists (  -- an erased person has no address
      select from suppressions s
      where s.tenant_id = %(tenant_id)s::uuid and s.channel = 'email' and s.value_key = lower(u.to_address)
        and s.reason = u.suppression
        and (s.lifted_at is null or s.lifted_at >= u.created_at or s.source = 'event ' || u.provider_event_id)
    ) as is_suppressed,
    not u.is_step or u.state not in ('draft', 'active', 'paused') or exists (
      select from campaign_transitions t
      where t.tenant_id = %(tenant_id)s::uuid and t.enrollment_id = u.enrollment_id and t.provider_event_id = u.provider_event_id
    ) as is_heard,
    u.state::text as enrollment_state
  from due u
)
select event_id, address, suppression, is_suppressed, is_heard, enrollment_state
from judged
where not (is_suppressed and is_heard)
order by event_id

-- name: list_contacts
-- The page after an id: what each contact carries of the suppressions of its address, and those in force.
select c.id, reason_text(c.suppressed_reason) as suppressed_reason, array(
  select reason_text(s.reason) from suppressions s
  where s.tenant_id = c.tenant_id and s.channel = 'email' and s.value_key = c.email_key and s.lifted_at is null
  order by reason_text(s.reason)
) as in_force
from contacts c
where c.tenant_id = %(tenant_id)s::uuid and c.id > %(after)s::uuid
order by c.id
limit %(rows_max)s::int
