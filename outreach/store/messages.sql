-- Messages for people: those of which nobody knows, and all that is known of one.

-- name: list_unsettled
-- Messages in a state in which an attempt has no known outcome, oldest first, after the last one of a page.
select m.id, m.state::text, m.to_address, c.name as campaign, m.node_id, a.attempt, a.armed_at, m.wake_at as look_at,
  c.unknown_policy::text as policy
from send_attempts a
join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
join campaigns c on c.tenant_id = m.tenant_id and c.id = m.campaign_id
where a.tenant_id = %(tenant_id)s::uuid and a.outcome = 'unknown' and m.state = %(state)s::message_state
order by a.armed_at, m.id
limit %(rows_max)s::int;

-- name: find_message
-- A message, and its attempt of unknown outcome, if it has one.
select m.id, m.state::text, m.delivery::text, m.to_address, m.subject, c.name as campaign, m.enrollment_id, m.action_id,
  m.node_id, m.visit, m.created_at, m.sent_at, m.wake_at as look_at, m.failure_code, c.unknown_policy::text as policy,
  a.attempt as unknown_attempt, a.armed_at as unknown_armed_at, now() as now
from outbound_messages m
join campaigns c on c.tenant_id = m.tenant_id and c.id = m.campaign_id
left join send_attempts a on a.tenant_id = m.tenant_id and a.message_id = m.id and a.outcome = 'unknown'
where m.tenant_id = %(tenant_id)s::uuid and m.id = %(id)s::uuid;

-- name: list_tries
-- Every attempt at a message, the first one first.
select attempt, outcome::text, armed_at, settled_at, settled_by, http_status, detail
from send_attempts
where tenant_id = %(tenant_id)s::uuid and message_id = %(id)s::uuid
order by attempt;

-- name: list_evidence
-- What anybody said of its attempts, in the order in which it was first said.
select attempt, source, says, times, detail, created_at as at, updated_at as last_at
from outcome_evidence
where tenant_id = %(tenant_id)s::uuid and message_id = %(id)s::uuid
order by created_at, attempt, source;

-- name: list_message_incidents
-- The alarms about a message and its attempts.
select code, subject, detail, created_at as at, closed_at
from incidents
where tenant_id = %(tenant_id)s::uuid and split_part(subject, ':', 1) = %(id)s::text
order by created_at, code;
