-- Attempts of unknown outcome: which are to be looked at, what is known of them, and their ends.

-- name: list_unknowns_due
-- Those to be looked at now, over all tenants, oldest first.
select tenant_id, message_id, attempt, to_address, armed_at, deadline_at, policy, looked_at, now() as now
from unknowns_due(%(rows_max)s::int);

-- name: list_account_facts
-- How the account's mails and webhooks fared before and after each of these moments. Counts are bounded.
select s.since, later.accepted as accepted_after, later.told as told_after, earlier.accepted as accepted_before,
  earlier.told as told_before, hook.late as webhooks_late, hook.quarantined as webhooks_quarantined, waiting.since as waiting_since
from unnest(%(sinces)s::timestamptz[]) as s (since)
cross join lateral sends_told(s.since, now() - %(event_patience)s::interval, %(sends_max)s::int) later
cross join lateral sends_told(s.since - interval '30 days', s.since, %(sends_max)s::int) earlier
cross join lateral (
  select count(*) filter (where d.signed_at < d.received_at - %(webhook_patience)s::interval) as late,
    count(*) filter (where d.state = 'quarantined') as quarantined
  from webhook_deliveries d
  where d.received_at > s.since
) hook
cross join (
  select min(d.received_at) as since from webhook_deliveries d where d.state = 'received'
) waiting;

-- name: take_log_slots
-- Permission to ask the provider's logs: at most so many questions now, none that would be a seventh in a
-- minute. Never waits: who takes them at the same moment gets others.
update provider_log_slots s
set asked_at = clock_timestamp()
from (
  select slot from provider_log_slots
  where asked_at < clock_timestamp() - make_interval(secs => %(window_seconds)s::double precision)
  order by asked_at
  limit %(wanted)s::int
  for update skip locked
) free
where s.slot = free.slot;

-- name: insert_evidence
-- What somebody says of attempts; the same word again only counts. Attempts that do not exist are left out.
insert into outcome_evidence (tenant_id, message_id, attempt, source, says, detail)
select a.tenant_id, a.message_id, a.attempt, %(source)s::text, %(says)s::text, e.detail
from unnest(%(message_ids)s::uuid[], %(attempts)s::smallint[], %(details)s::jsonb[]) as e (message_id, attempt, detail)
join send_attempts a on a.tenant_id = %(tenant_id)s::uuid and a.message_id = e.message_id and a.attempt = e.attempt
order by a.message_id, a.attempt
on conflict (tenant_id, message_id, attempt, source, says)
do update set times = outcome_evidence.times + 1, detail = excluded.detail, updated_at = now();

-- name: list_contested
-- Attempts of these messages that are recorded as refused and of which somebody said that they were accepted.
select distinct on (a.message_id, a.attempt) a.message_id, a.attempt, e.created_at as at
from outcome_evidence e
join send_attempts a on a.tenant_id = e.tenant_id and a.message_id = e.message_id and a.attempt = e.attempt
where e.tenant_id = %(tenant_id)s::uuid and e.message_id = any (%(message_ids)s::uuid[]) and e.says = 'accepted'
  and a.outcome in ('rejected', 'not_sent')
order by a.message_id, a.attempt, e.created_at;

-- name: set_next_looks
-- When messages that are still unknown are looked at again.
update outbound_messages m
set wake_at = l.at, updated_at = now()
from unnest(%(message_ids)s::uuid[], %(ats)s::timestamptz[]) as l (message_id, at)
where m.tenant_id = %(tenant_id)s::uuid and m.id = l.message_id and m.state = 'unknown';

-- name: lock_unknowns
-- Those of these messages that are in one of the states, locked in order of id. The enrollments are locked already.
select m.id
from outbound_messages m
where m.tenant_id = %(tenant_id)s::uuid and m.id = any (%(message_ids)s::uuid[]) and m.state = any (%(states)s::message_state[])
order by m.id
for no key update of m;

-- name: abandon_messages
-- Gives messages up that are still unknown, and closes their actions; where each stood.
with message as (
  update outbound_messages m
  set state = 'abandoned', wake_at = null, failure_code = 'outcome_unknown', updated_at = now()
  where m.tenant_id = %(tenant_id)s::uuid and m.id = any (%(message_ids)s::uuid[]) and m.state = 'unknown'
  returning m.id, m.enrollment_id, m.action_id, m.node_id, m.visit
),
action as (
  update scheduled_actions a
  set state = 'done', updated_at = now()
  from message m
  where a.tenant_id = %(tenant_id)s::uuid and a.id = m.action_id and a.state = 'claimed'
)
select id as message_id, enrollment_id, action_id, node_id, visit from message;
