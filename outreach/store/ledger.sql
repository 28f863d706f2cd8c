-- name: settle_accepted
-- The ordinary case whole: the provider took messages whose enrollments still stand at their step, and
-- only timers follow, the same for all of one `course`. Returns the messages that it settled; the others
-- are as they were. Locks the enrollments in id order, then messages.
with standing as materialized (
  select o.*
  from unnest(
    %(message_ids)s::uuid[], %(attempts)s::smallint[], %(enrollment_ids)s::uuid[], %(node_ids)s::text[], %(visits)s::int[],
    %(plan_versions)s::int[], %(statuses)s::smallint[], %(provider_ids)s::text[], %(courses)s::int[]
  ) as o (message_id, attempt, enrollment_id, node_id, visit, plan_version, http_status, provider_id, course)
  join enrollments e on e.tenant_id = %(tenant_id)s::uuid and e.id = o.enrollment_id
  where e.state = 'active' and e.current_node_id = o.node_id and (e.visits ->> o.node_id)::int = o.visit
    and e.plan_version = o.plan_version  -- else its timers may be others by now
  order by e.id
  for no key update of e
),
attempt as (
  update send_attempts a
  set outcome = 'accepted', settled_at = clock_timestamp(), settled_by = 'answer', http_status = o.http_status,
    provider_message_id = o.provider_id, updated_at = now()
  from standing o
  where a.tenant_id = %(tenant_id)s::uuid and a.message_id = o.message_id and a.attempt = o.attempt
    and a.outcome::text = 'armed'  -- as text, or the index of all that is armed looks better than the key
  returning o.*
),
message as (
  update outbound_messages m
  set state = 'sent', accepted_attempt = o.attempt, sent_at = now(), wake_at = null, updated_at = now(),
    provider_message_id = coalesce(o.provider_id, m.provider_message_id)
  from attempt o
  where m.tenant_id = %(tenant_id)s::uuid and m.id = o.message_id
  returning m.id, m.action_id, m.enrollment_id, m.node_id, m.visit, o.course
),
action as (
  update scheduled_actions a
  set state = 'done', updated_at = now()
  from message m
  where a.tenant_id = %(tenant_id)s::uuid and a.id = m.action_id and a.state = 'claimed'
),
enrollment as (
  update enrollments e
  set latest_message_id = m.id, message_node_id = m.node_id, accepted_at = now(), previous = null, updated_at = now()
  from message m
  where e.tenant_id = %(tenant_id)s::uuid and e.id = m.enrollment_id
  returning m.id as message_id, e.id, e.campaign_id, e.sender_id, m.node_id, m.visit, m.course
),
timer as (
  insert into scheduled_actions (
    tenant_id, enrollment_id, campaign_id, sender_id, node_id, visit, kind, trigger, due_at)
  select %(tenant_id)s::uuid, e.id, e.campaign_id, e.sender_id, e.node_id, e.visit, 'timeout', t.trigger, t.due_at
  from enrollment e
  join unnest(%(timer_courses)s::int[], %(timer_triggers)s::text[], %(timer_due_ats)s::timestamptz[])
    as t (course, trigger, due_at) on t.course = e.course
)
select message_id from enrollment;

-- name: lock_messages
-- The messages of these attempts, locked, with what an outcome changes. The enrollments are locked already.
select m.id as message_id, r.attempt, a.outcome as attempt_outcome, a.armed_at,
  m.enrollment_id, m.sender_id, m.action_id, m.node_id, m.visit, m.to_domain, m.counted_attempts, now() as now
from unnest(%(message_ids)s::uuid[], %(attempts)s::smallint[]) as r (message_id, attempt)
join outbound_messages m on m.tenant_id = %(tenant_id)s::uuid and m.id = r.message_id
join send_attempts a on a.tenant_id = m.tenant_id and a.message_id = m.id and a.attempt = r.attempt
order by m.id
for no key update of m;

-- name: settle_attempts
-- What attempts came to, with all that follows for message, action and enrollment, in one statement.
-- Only attempts still armed or unknown change, so that a late or repeated answer changes nothing.
with outcome as (
  select * from unnest(
    %(message_ids)s::uuid[], %(attempts)s::smallint[], %(outcomes)s::attempt_outcome[], %(statuses)s::smallint[], %(details)s::text[],
    %(settled_bys)s::text[], %(states)s::message_state[], %(provider_ids)s::text[], %(ats)s::timestamptz[],
    %(counts)s::smallint[], %(wake_ats)s::timestamptz[], %(failure_codes)s::text[], %(action_states)s::action_state[],
    %(due_ats)s::timestamptz[], %(currents)s::boolean[]
  ) as o (message_id, attempt, outcome, http_status, detail, settled_by, state, provider_id, at, count, wake_at, failure_code,
    action_state, due_at, is_current)
),
attempt as (
  update send_attempts a
  set outcome = o.outcome, settled_at = clock_timestamp(), settled_by = o.settled_by, http_status = o.http_status,
    detail = o.detail, provider_message_id = coalesce(o.provider_id, a.provider_message_id), updated_at = now()
  from outcome o
  where a.tenant_id = %(tenant_id)s::uuid and a.message_id = o.message_id and a.attempt = o.attempt
    and (a.outcome = 'armed' or (a.outcome = 'unknown' and o.outcome in ('accepted', 'not_sent'))
      or (a.outcome in ('rejected', 'not_sent') and o.outcome = 'accepted'))  -- against what was recorded
  returning o.*
),
message as (
  update outbound_messages m
  set state = o.state,
    accepted_attempt = case when o.state = 'sent' then o.attempt end,
    sent_at = case when o.state = 'sent' then o.at end,
    provider_message_id = coalesce(o.provider_id, m.provider_message_id),
    counted_attempts = m.counted_attempts + o.count,
    wake_at = o.wake_at,
    failure_code = o.failure_code,
    failure_text = case when o.failure_code is not null then o.detail end,
    updated_at = now()
  from attempt o
  where m.tenant_id = %(tenant_id)s::uuid and m.id = o.message_id
    and (o.state = 'sent' or m.state <> 'abandoned')  -- what was given up is not taken up again
  returning m.enrollment_id, m.action_id, m.id, m.node_id, m.created_at, o.state, o.at, o.action_state, o.due_at, o.is_current
),
action as (
  update scheduled_actions a
  set state = o.action_state, due_at = coalesce(o.due_at, a.due_at), updated_at = now(),
    held_by = case when o.action_state = 'pending' then a.held_by end
  from message o
  where a.tenant_id = %(tenant_id)s::uuid and a.id = o.action_id and a.state in ('claimed', 'pending')
),
enrollment as (
  update enrollments e
  set latest_message_id = o.id, message_node_id = o.node_id, accepted_at = o.at, previous = null, updated_at = now()
  from message o
  where o.state = 'sent' and e.tenant_id = %(tenant_id)s::uuid and e.id = o.enrollment_id
    and (o.is_current or not exists (  -- evidence that comes late: a message sent after it stays the latest
      select from outbound_messages later
      where later.tenant_id = e.tenant_id and later.enrollment_id = e.id and later.state = 'sent'
        and later.created_at > o.created_at
    ))
)
insert into scheduled_actions (
  tenant_id, enrollment_id, campaign_id, sender_id, node_id, visit, kind, trigger, due_at)
select e.tenant_id, e.id, e.campaign_id, e.sender_id, t.node_id, t.visit, 'timeout', t.trigger, t.due_at
from unnest(
  %(timer_enrollment_ids)s::uuid[], %(timer_message_ids)s::uuid[], %(timer_node_ids)s::text[], %(timer_visits)s::int[],
  %(timer_triggers)s::text[], %(timer_due_ats)s::timestamptz[]
) as t (enrollment_id, message_id, node_id, visit, trigger, due_at)
join message on message.id = t.message_id
join enrollments e on e.tenant_id = %(tenant_id)s::uuid and e.id = t.enrollment_id;

-- name: set_provider_ids
-- The provider's own ids of messages whose acceptance an event had proved before: the answer has it for
-- certain, and events without our ids are found by nothing else. The messages are locked already.
with message as (
  update outbound_messages m
  set provider_message_id = i.provider_id, updated_at = now()
  from unnest(%(message_ids)s::uuid[], %(provider_ids)s::text[]) as i (message_id, provider_id)
  where m.tenant_id = %(tenant_id)s::uuid and m.id = i.message_id
    and m.provider_message_id is distinct from i.provider_id
  returning m.id, m.accepted_attempt, i.provider_id
)
update send_attempts a
set provider_message_id = m.provider_id, updated_at = now()
from message m
where a.tenant_id = %(tenant_id)s::uuid and a.message_id = m.id and a.attempt = m.accepted_attempt;

-- name: pause_provider
-- The account cannot send: nothing is claimed until a person, or a working key, ends it.
update installation
set provider_paused_at = now(), provider_pause_reason = %(reason)s::text, updated_at = now()
where provider_paused_at is null;

-- name: delay_provider
-- The provider asked everybody to come back later.
update installation
set provider_later_until = %(until)s::timestamptz, updated_at = now()
where provider_later_until is null or provider_later_until < %(until)s::timestamptz;

-- name: resume_provider
-- A request got through: what had been asked to wait goes on at full speed.
update installation
set provider_later_until = null, provider_failures = 0, updated_at = now()
where provider_later_until <= now();

-- name: pause_senders
-- The provider refuses these identities; each gets the hold that says so.
with paused as (
  update sender_identities
  set paused_at = now(), pause_reason = %(reason)s::text, updated_at = now()
  where tenant_id = %(tenant_id)s::uuid and id = any (%(sender_ids)s::uuid[]) and paused_at is null
  returning tenant_id, id, from_email, pause_reason
)
insert into send_holds (tenant_id, scope, subject_id, reason, detail)
select tenant_id, 'sender', id, 'sender_paused',
  jsonb_build_object('sender', from_email, 'who', 'the provider', 'reason', pause_reason)
from paused
on conflict (tenant_id, scope, subject_id, reason) where ended_at is null
do update set detail = excluded.detail, updated_at = now();

-- name: list_overdue_attempts
-- Attempts over all tenants whose process has not answered for them.
select tenant_id, message_id, attempt
from attempts_overdue(make_interval(secs => %(grace_seconds)s::double precision), %(rows_max)s::int);

-- name: list_attempt_enrollments
-- The enrollment of each message.
select m.id as message_id, m.enrollment_id
from outbound_messages m
where m.tenant_id = %(tenant_id)s::uuid and m.id = any (%(message_ids)s::uuid[]);
