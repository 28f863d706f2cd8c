-- Events: whose they are, each once, and what they say of their message.

-- name: resolve_messages
-- The messages of these references, over all tenants: by our own ids where given, else by any of the
-- provider's ids. A reference may come back several times, or not at all.
select r.ref, r.tenant_id, r.message_id, r.enrollment_id
from resolve_messages(%(refs)s::int[], %(tenant_ids)s::uuid[], %(message_ids)s::uuid[], %(provider_ids)s::text[]) r

-- name: tenants_of_messages
-- Whose these messages really are.
select t.message_id, t.tenant_id
from tenants_of_messages(%(message_ids)s::uuid[]) t

-- name: insert_events
-- Stores what is not stored yet, each event once over all partitions; returns the ids that were new.
-- Inserts keys in order of id, so that two appliers of the same events wait, and never for each other.
-- The details come as one JSON array: as an array of JSON each would be quoted twice.
with incoming as (
  select e.*
  from rows from (
    unnest(
      %(providers)s::text[], %(event_ids)s::text[], %(message_ids)s::uuid[], %(enrollment_ids)s::uuid[],
      %(types)s::event_type[], %(ats)s::timestamptz[], %(machines)s::bool[], %(machine_reasons)s::text[],
      %(attempts)s::smallint[], %(reasons)s::text[]
    ),
    jsonb_array_elements(%(details)s::jsonb)
  ) as e (provider, event_id, message_id, enrollment_id, type, at, is_machine, machine_reason, attempt, reason, detail)
), fresh as (
  insert into message_event_keys (tenant_id, provider, provider_event_id, event_at)
  select %(tenant_id)s::uuid, i.provider, i.event_id, i.at
  from incoming i
  order by i.provider, i.event_id
  on conflict (tenant_id, provider, provider_event_id) do nothing
  returning provider, provider_event_id
), stored as (
  insert into message_events
    (tenant_id, provider, provider_event_id, outbound_message_id, enrollment_id, event_type, event_at,
     is_machine, machine_reason, attempt, reason, detail)
  select %(tenant_id)s::uuid, i.provider, i.event_id, i.message_id, i.enrollment_id, i.type, i.at,
    i.is_machine, i.machine_reason, i.attempt, i.reason, i.detail
  from fresh f
  join incoming i on i.provider = f.provider and i.event_id = f.provider_event_id
)
select f.provider, f.provider_event_id from fresh f

-- name: list_engagement
-- What a verdict on the opens and clicks of these messages rests on, in no order; nothing of a message
-- without any. Between two moments, so that only their months are read.
select s.id, s.event_id, s.message_id, s.type, s.at, s.reason, s.agent, s.url
from (
  select e.id, e.provider_event_id as event_id, e.outbound_message_id as message_id, e.event_type as type, e.event_at as at,
    e.machine_reason as reason, e.detail ->> 'useragent' as agent, e.detail ->> 'url' as url,
    bool_or(e.event_type <> 'delivered') over (partition by e.outbound_message_id) as is_engaged
  from message_events e
  where e.tenant_id = %(tenant_id)s::uuid and e.outbound_message_id = any(%(message_ids)s::uuid[])
    and e.event_at >= %(since)s::timestamptz and e.event_at <= %(until)s::timestamptz
    and e.event_type in ('delivered', 'opened', 'clicked')
) s
where s.is_engaged

-- name: set_grades
-- Marks events as a machine's, with the reason, or as a person's.
update message_events e
set is_machine = g.reason is not null, machine_reason = g.reason
from unnest(%(ids)s::uuid[], %(ats)s::timestamptz[], %(reasons)s::text[]) as g (id, at, reason)
where e.tenant_id = %(tenant_id)s::uuid and e.id = g.id and e.event_at = g.at

-- name: list_attempts
-- Every attempt at these messages.
select a.message_id, a.attempt, a.outcome
from send_attempts a
where a.tenant_id = %(tenant_id)s::uuid and a.message_id = any(%(message_ids)s::uuid[])

-- name: raise_deliveries
-- Raises what became of each message; never lowers it. Returns what that adds to its senders' outcomes:
-- a message is settled once, and bounces or is complained of once. Locks the messages in order of id.
with known as (
  select m.id, m.sender_id, m.delivery as was, r.delivery
  from unnest(%(message_ids)s::uuid[], %(deliveries)s::delivery_state[]) as r (id, delivery)
  join outbound_messages m on m.tenant_id = %(tenant_id)s::uuid and m.id = r.id and m.delivery < r.delivery
  order by m.id
  for no key update of m
),
raised as (
  update outbound_messages m
  set delivery = k.delivery, updated_at = now()
  from known k
  where m.tenant_id = %(tenant_id)s::uuid and m.id = k.id
)
select k.sender_id,
  count(*) filter (
    where k.was in ('none', 'deferred') and k.delivery in ('delivered', 'blocked', 'bounced', 'complained')
  )::int as settled,
  count(*) filter (where k.delivery = 'bounced')::int as bounced,
  count(*) filter (where k.delivery = 'complained')::int as complained
from known k
group by k.sender_id

-- name: list_addresses
-- To which address each message went.
select m.id as message_id, m.to_address as address
from outbound_messages m
where m.tenant_id = %(tenant_id)s::uuid and m.id = any(%(message_ids)s::uuid[])

-- name: insert_unmatched
-- Keeps events that belong to nobody, each once; returns the ids that were new.
insert into unmatched_events (provider, provider_event_id, reason, payload, delivery_id)
select u.provider, u.event_id, u.reason, u.payload, u.delivery_id
from unnest(
  %(providers)s::text[], %(event_ids)s::text[], %(reasons)s::text[], %(payloads)s::jsonb[], %(delivery_ids)s::uuid[]
) as u (provider, event_id, reason, payload, delivery_id)
order by u.provider, u.event_id
on conflict (provider, provider_event_id) do nothing
returning provider, provider_event_id

-- name: claim_unmatched
-- Events whose message was unknown and may be looked for again. Locks them, skipping what others hold.
select u.id, u.provider, u.provider_event_id, u.payload, u.delivery_id, u.received_at
from unmatched_events u
where u.adopted_at is null and u.reason = 'unknown_message' and u.look_at <= now()
order by u.look_at
limit %(rows_max)s::int
for update skip locked

-- name: close_unmatched
-- Marks those whose message is known now as adopted, and puts off the rest by as long as they have
-- waited already, so that what never finds its message costs next to nothing.
update unmatched_events u
set adopted_at = case when c.is_adopted then now() end,
  look_at = now() + greatest(interval '1 second', now() - u.received_at),
  updated_at = now()
from unnest(%(ids)s::uuid[], %(adopted)s::bool[]) as c (id, is_adopted)
where u.id = c.id
