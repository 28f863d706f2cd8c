-- Where enrollments stand, and how they move. Whoever moves one holds its row.
--
-- What joins a batch of ids to large tables is planned each time (`sql.fetch_planned`): a plan kept from
-- when the tables were small reads all that the tenant has, for each id.

-- name: lock_enrollments
-- Locks the enrollments in id order, waiting for whoever holds one. Locks only: what is read in the
-- same statement may be older than what the wait was for.
select e.id
from enrollments e
where e.tenant_id = %(tenant_id)s::uuid and e.id = any(%(ids)s::uuid[])
order by e.id
for update

-- name: lock_free_enrollments
-- The same for those that nobody holds now; never waits.
select e.id
from enrollments e
where e.tenant_id = %(tenant_id)s::uuid and e.id = any(%(ids)s::uuid[])
order by e.id
for update skip locked

-- name: list_standings
-- What the next step of each enrollment depends on, read after its lock. `step_action_state` is that of
-- the current step's send while it is open, `is_step_attempted` whether it has been tried before.
select
  e.id as enrollment_id, e.campaign_id, e.contact_id, e.sender_id, e.plan_version,
  e.state, e.current_node_id, e.visits, e.entered_at, e.came_by,
  e.latest_message_id, e.message_node_id, e.accepted_at, e.previous,
  k.state as campaign_state, c.timezone as contact_zone,
  step.state as step_action_state, step.message_id is not null as is_step_attempted
from enrollments e
join campaigns k on k.tenant_id = e.tenant_id and k.id = e.campaign_id
join contacts c on c.tenant_id = e.tenant_id and c.id = e.contact_id
left join lateral (
  select a.state, a.message_id
  from scheduled_actions a
  where a.tenant_id = e.tenant_id and a.enrollment_id = e.id
    and a.state in ('pending', 'claimed') and a.kind = 'send'
    and a.node_id = e.current_node_id and a.visit = (e.visits ->> e.current_node_id)::int
  limit 1
) step on true
where e.tenant_id = %(tenant_id)s::uuid and e.id = any(%(ids)s::uuid[])

-- name: list_history
-- What is known to have happened to each message, oldest first: of each kind the first ones and the last.
-- Repeats between change nothing, and a thousand opens must not hide a click. Timers' own records are
-- left out.
-- An event precedes its message's row by clock skew at most, which spares older partitions.
select h.message_id, h.provider_event_id, h.event_type, h.event_at, h.is_machine, h.reason
from unnest(%(message_ids)s::uuid[]) as wanted (id)
join outbound_messages m on m.tenant_id = %(tenant_id)s::uuid and m.id = wanted.id
cross join lateral (
  select e.outbound_message_id as message_id, e.provider_event_id, e.event_type, e.event_at, e.is_machine, e.reason,
    row_number() over (of_kind order by e.event_at, e.provider_event_id) as place,
    count(*) over of_kind as total
  from message_events e
  where e.tenant_id = m.tenant_id and e.outbound_message_id = m.id
    and e.event_at >= m.created_at - interval '1 day'
    and e.event_type not in ('processed', 'deferred', 'group_resubscribed', 'no_open', 'no_click', 'no_reply')
  window of_kind as (partition by e.event_type, e.is_machine)
) h
where h.place <= %(events_max)s::int or h.place = h.total
order by h.message_id, h.event_at, h.provider_event_id

-- name: move_enrollments
-- Writes positions, states and ends. An enrollment that has ended does not move.
update enrollments e
set state = m.state,
  current_node_id = m.node_id,
  visits = m.visits,
  entered_at = m.entered_at,
  came_by = m.came_by,
  accepted_at = m.accepted_at,
  latest_message_id = m.latest_message_id,
  message_node_id = m.message_node_id,
  previous = m.previous,
  paused_at = case when m.state = 'paused' then e.paused_at end,
  ended_at = case when m.end_reason is not null then now() end,
  end_reason = m.end_reason,
  updated_at = now()
from unnest(
  %(ids)s::uuid[], %(states)s::enrollment_state[], %(node_ids)s::text[], %(visits)s::jsonb[],
  %(entered_ats)s::timestamptz[], %(came_bys)s::text[], %(accepted_ats)s::timestamptz[],
  %(message_ids)s::uuid[], %(message_node_ids)s::text[], %(previous)s::jsonb[], %(end_reasons)s::text[]
) as m (
  id, state, node_id, visits, entered_at, came_by, accepted_at,
  latest_message_id, message_node_id, previous, end_reason)
where e.tenant_id = %(tenant_id)s::uuid and e.id = m.id and e.ended_at is null

-- name: cancel_actions
-- Takes back everything pending of these enrollments. A message that waited for another try at such a
-- step fails: nobody will look at it again. Its row is locked by the enrollment's.
with canceled as (
  update scheduled_actions a
  set state = 'canceled', held_by = null, updated_at = now()
  where a.tenant_id = %(tenant_id)s::uuid and a.enrollment_id = any(%(enrollment_ids)s::uuid[])
    and a.state = 'pending'
  returning a.message_id
)
update outbound_messages m
set state = 'failed', failure_code = 'enrollment_ended', wake_at = null, updated_at = now()
from canceled
where m.tenant_id = %(tenant_id)s::uuid and m.id = canceled.message_id and m.state = 'waiting_retry'

-- name: insert_actions
-- Puts sends and timers on the timetable. A send after a message that was accepted goes on with a
-- conversation, and goes before first touches.
insert into scheduled_actions
  (tenant_id, enrollment_id, campaign_id, sender_id, node_id, visit, kind, trigger, due_at, priority)
select %(tenant_id)s::uuid, a.enrollment_id, a.campaign_id, a.sender_id, a.node_id, a.visit, a.kind, a.trigger, a.due_at,
  case when e.latest_message_id is null then 1 else 0 end
from unnest(
  %(enrollment_ids)s::uuid[], %(campaign_ids)s::uuid[], %(sender_ids)s::uuid[], %(node_ids)s::text[],
  %(visits)s::int[], %(kinds)s::action_kind[], %(triggers)s::text[], %(due_ats)s::timestamptz[]
) as a (enrollment_id, campaign_id, sender_id, node_id, visit, kind, trigger, due_at)
join enrollments e on e.tenant_id = %(tenant_id)s::uuid and e.id = a.enrollment_id

-- name: insert_steps
-- Adds to the history of each enrollment, in the order given.
insert into campaign_transitions
  (tenant_id, id, enrollment_id, from_node_id, to_node_id, visit, trigger, code, reason, provider_event_id, occurred_at)
select %(tenant_id)s::uuid, s.id, s.enrollment_id, s.from_node_id, s.to_node_id, s.visit, s.trigger, s.code,
  s.reason, s.event_id, s.at
from unnest(
  %(ids)s::uuid[], %(enrollment_ids)s::uuid[], %(from_node_ids)s::text[], %(to_node_ids)s::text[],
  %(visits)s::int[], %(triggers)s::text[], %(codes)s::text[], %(reasons)s::text[], %(event_ids)s::text[],
  %(ats)s::timestamptz[]
) as s (id, enrollment_id, from_node_id, to_node_id, visit, trigger, code, reason, event_id, at)

-- name: lock_ending_campaigns
-- Which of these campaigns may have seen their last live enrollment end. One with a live enrollment that
-- nobody holds is not among them; the others' rows are locked in id order, so that of two transactions
-- which end the last two enrollments the later one looks again after the earlier has committed.
select k.id
from campaigns k
where k.tenant_id = %(tenant_id)s::uuid and k.id = any(%(ids)s::uuid[]) and k.state in ('active', 'paused')
  and not exists (
    select from enrollments e
    where e.tenant_id = k.tenant_id and e.campaign_id = k.id and e.state in ('draft', 'active', 'paused')
    limit 1
    for share skip locked
  )
order by k.id
for no key update

-- name: complete_campaigns
-- Ends the campaigns in which nobody is on the way any more. A statement of its own, because it has to
-- see what was committed while the one before waited.
update campaigns k
set state = 'completed', ended_at = now(), end_reason = 'completed', paused_at = null, paused_by = null,
  pause_reason = null, updated_at = now()
where k.tenant_id = %(tenant_id)s::uuid and k.id = any(%(ids)s::uuid[]) and k.state in ('active', 'paused')
  and not exists (
    select from enrollments e
    where e.tenant_id = k.tenant_id and e.campaign_id = k.id and e.state in ('draft', 'active', 'paused')
  )

-- name: list_steps
-- Every step that these enrollments have taken, each one's in order, and when the provider accepted the
-- latest message of each.
select t.enrollment_id, t.from_node_id, t.to_node_id, t.trigger, t.code, t.provider_event_id as event_id,
  t.created_at, m.sent_at
from campaign_transitions t
join enrollments e on e.tenant_id = t.tenant_id and e.id = t.enrollment_id
left join outbound_messages m on m.tenant_id = e.tenant_id and m.id = e.latest_message_id
where t.tenant_id = %(tenant_id)s::uuid and t.enrollment_id = any(%(ids)s::uuid[])
order by t.enrollment_id, t.created_at, t.id
