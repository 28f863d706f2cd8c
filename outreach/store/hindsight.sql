-- One contact's enrollments as they were at a moment, from what had been recorded by then.

-- name: list_enrollments_at
-- Those that there were at the moment, with the holds that lay on each: its own, its campaign's, its sender's,
-- everybody's. `is_held` is its own alone.
select e.id, k.name as campaign, coalesce(h.reasons, '{}') as held_by, coalesce(h.is_own, false) as is_held
from enrollments e
join campaigns k on k.tenant_id = e.tenant_id and k.id = e.campaign_id
left join lateral (
  select array_agg(distinct h.reason) as reasons, bool_or(h.scope = 'enrollment') as is_own
  from send_holds h
  where h.tenant_id = e.tenant_id
    and (h.scope, h.subject_id) in (
      ('enrollment', e.id), ('campaign', e.campaign_id), ('sender', e.sender_id), ('tenant', e.tenant_id), ('installation', e.tenant_id))
    and h.created_at <= %(at)s::timestamptz and coalesce(h.ended_at, 'infinity') > %(at)s::timestamptz
) h on true
where e.tenant_id = %(tenant_id)s::uuid and e.contact_id = %(contact_id)s::uuid and e.created_at <= %(at)s::timestamptz
  and (%(campaign_id)s::uuid is null or e.campaign_id = %(campaign_id)s::uuid)
order by e.created_at, e.id

-- name: list_last_steps
-- The step by which each enrollment had come to its node, or to its end where it had ended.
select t.enrollment_id, t.occurred_at as at, t.code, t.provider_event_id as event_id,
  coalesce(t.detail, '{}') || jsonb_build_object('from', t.from_node_id, 'to', t.to_node_id, 'visit', t.visit, 'trigger', t.trigger,
    'reason', t.reason) as detail
from unnest(%(enrollment_ids)s::uuid[], %(node_ids)s::text[]) as place (enrollment_id, node_id)
cross join lateral (
  select t.* from campaign_transitions t
  where t.tenant_id = %(tenant_id)s::uuid and t.enrollment_id = place.enrollment_id
    and t.to_node_id is not distinct from place.node_id and t.code <> 'timer_found_event' and t.created_at <= %(at)s::timestamptz
  order by t.created_at desc, t.id desc
  limit 1
) t

-- name: list_pending_at
-- What was on the timetable then and not done. An action that was put off later shows its later moment.
select a.enrollment_id, a.kind::text as kind, a.node_id, a.visit, a.trigger, a.due_at
from scheduled_actions a
where a.tenant_id = %(tenant_id)s::uuid and a.enrollment_id = any (%(enrollment_ids)s::uuid[])
  and a.created_at <= %(at)s::timestamptz
  and (a.state in ('pending', 'claimed') or a.updated_at > %(at)s::timestamptz)
order by a.due_at, a.id

-- name: list_mails_at
-- The newest messages that there were, each with its latest attempt of then and the events that had come in. An
-- attempt that was settled later was under way, or in doubt.
select m.enrollment_id, m.id as message_id, m.node_id, m.visit, a.attempt,
  case when a.settled_at <= %(at)s::timestamptz then a.outcome::text else 'armed' end as outcome, v.event_types
from outbound_messages m
cross join lateral (
  select a.attempt, a.outcome, a.settled_at from send_attempts a
  where a.tenant_id = m.tenant_id and a.message_id = m.id and a.armed_at <= %(at)s::timestamptz
  order by a.attempt desc
  limit 1
) a
cross join lateral (
  select coalesce(array_agg(distinct v.event_type::text), '{}') as event_types
  from message_events v
  where v.tenant_id = m.tenant_id and v.outbound_message_id = m.id and v.created_at <= %(at)s::timestamptz
) v
where m.tenant_id = %(tenant_id)s::uuid and m.enrollment_id = any (%(enrollment_ids)s::uuid[])
  and m.created_at <= %(at)s::timestamptz
order by m.created_at desc, m.id desc
limit %(rows_max)s::int
