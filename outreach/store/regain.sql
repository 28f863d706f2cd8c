-- Mail that went out and that this database does not know: what events prove, and its rows made anew.

-- name: list_strays
-- The page after an event, in the order of arrival, of those whose message is unknown.
select u.id, u.received_at, u.payload
from unmatched_events u
where u.reason = 'unknown_message' and u.adopted_at is null
  and (u.received_at, u.id) > (%(after_at)s::timestamptz, %(after_id)s::uuid)
order by u.received_at, u.id
limit %(rows_max)s::int

-- name: read_lost_time
-- From the last moment that any worker noted in this database to that of the hold; null while none is held.
select (select max(pulsed_at) from fence_pulses) as lost_from, i.data_loss_held_at as lost_until
from installation i
where i.data_loss_held_at is not null

-- name: list_known_tenants
-- Those of these ids that are tenants here. As the operator.
select id from tenants where id = any (%(ids)s::uuid[])

-- name: list_steps
-- The enrollments of these addresses, which one of their mails must belong to.
select e.id as enrollment_id, e.campaign_id, e.plan_version, e.sender_id
from contacts k
join enrollments e on e.tenant_id = k.tenant_id and e.contact_id = k.id
where k.tenant_id = %(tenant_id)s::uuid and k.email_key = any (%(email_keys)s::text[])

-- name: list_due_steps
-- Steps that are due and not in the ledger, as far as one batch goes: what an approval would send.
select a.enrollment_id, a.sender_id, a.node_id, a.visit, k.email as address
from scheduled_actions a
join enrollments e on e.tenant_id = a.tenant_id and e.id = a.enrollment_id
join contacts k on k.tenant_id = e.tenant_id and k.id = e.contact_id
where a.tenant_id = %(tenant_id)s::uuid and a.kind = 'send' and a.state = 'pending' and a.held_by is null
  and a.message_id is null and a.due_at <= now()
order by a.due_at, a.id
limit %(rows_max)s::int

-- name: insert_proven
-- Ledger rows of mail that events prove, with one attempt that is armed until those are applied; a pending
-- action of the same step becomes theirs. Returns the new ones. The enrollments are locked already.
with proven as (
  select p.*, w.id as action_id
  from unnest(
    %(message_ids)s::uuid[], %(enrollment_ids)s::uuid[], %(sender_ids)s::uuid[], %(node_ids)s::text[], %(visits)s::int[],
    %(dedupe_keys)s::text[], %(attempts)s::smallint[], %(addresses)s::text[], %(ats)s::timestamptz[]
  ) as p (message_id, enrollment_id, sender_id, node_id, visit, dedupe_key, attempt, address, at)
  left join lateral (
    select a.id from scheduled_actions a
    where a.tenant_id = %(tenant_id)s::uuid and a.enrollment_id = p.enrollment_id and a.kind = 'send'
      and a.node_id = p.node_id and a.visit = p.visit and a.state = 'pending'
    order by a.id limit 1
  ) w on true
), message as (
  insert into outbound_messages (
    tenant_id, id, enrollment_id, campaign_id, contact_id, sender_id, action_id, node_id, visit, dedupe_key, to_address, to_domain,
    from_address, from_name, reply_to, subject, body_text, body_html, attempts, wake_at)
  select e.tenant_id, p.message_id, e.id, e.campaign_id, e.contact_id, s.id, coalesce(p.action_id, new_id()), p.node_id, p.visit,
    p.dedupe_key, p.address, split_part(p.address, '@', 2), s.from_email, s.from_name, s.reply_to, %(words)s::text, %(words)s::text,
    %(words)s::text, p.attempt, now() + interval '1 minute'
  from proven p
  join enrollments e on e.tenant_id = %(tenant_id)s::uuid and e.id = p.enrollment_id
  join sender_identities s on s.tenant_id = e.tenant_id and s.id = p.sender_id
  on conflict (tenant_id, id) do nothing
  returning id
), attempt as (
  insert into send_attempts (tenant_id, message_id, attempt, armed_at, deadline_at)
  select %(tenant_id)s::uuid, p.message_id, p.attempt, least(p.at, now()), now() + interval '1 minute'
  from message m
  join proven p on p.message_id = m.id
), claimed as (
  update scheduled_actions a
  set state = 'claimed', held_by = null, message_id = p.message_id, updated_at = now()
  from message m
  join proven p on p.message_id = m.id
  where a.tenant_id = %(tenant_id)s::uuid and a.id = p.action_id
)
select id from message

-- name: look_now
-- These kept events are looked at by whoever applies events next.
update unmatched_events
set look_at = now(), updated_at = now()
where id = any (%(ids)s::uuid[]) and adopted_at is null

-- name: list_intended
-- What became of these messages, which another action made.
select m.id, m.state::text, m.sent_at, m.failure_code
from outbound_messages m
where m.tenant_id = %(tenant_id)s::uuid and m.id = any (%(ids)s::uuid[])
