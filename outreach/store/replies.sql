-- Mail that came in: kept, read, matched.

-- name: insert_inbound
-- Once for each hash. No conflict target: naming one needs the right to read, which the web has not.
-- What cannot be read at all is closed at once.
insert into inbound_messages (mail_hash, raw, raw_length, envelope, state, applied_at, problem)
values (
  %(mail_hash)s::bytea, %(raw)s::bytea, %(raw_length)s::bigint, %(envelope)s::jsonb,
  case when %(problem)s::text is null then 'received' else 'quarantined' end::webhook_state,
  case when %(problem)s::text is null then null else now() end, %(problem)s::text
)
on conflict do nothing

-- name: claim_inbound
-- The oldest mails not applied yet, as many as are within both bounds and at least one. Locks rows, and
-- waits for another applier's: so no two apply at once, and each sees what the one before has done.
with head as materialized (
  select m.id, m.received_at, octet_length(m.raw) as bytes
  from inbound_messages m
  where m.state = 'received'
  order by m.received_at, m.id
  limit %(rows_max)s::int
  for update
), running as (
  select h.id, h.received_at, sum(h.bytes) over (order by h.received_at, h.id) - h.bytes as bytes_before
  from head h
)
select m.id, m.received_at, m.raw, m.raw_length, m.envelope
from running r
join inbound_messages m on m.id = r.id
where r.bytes_before < %(bytes_max)s::bigint
order by r.received_at, r.id

-- name: insert_mail_events
-- Events of our own, a delivery each and each once, as old as the mail that they come from: what waits for
-- what was received before waits for them too.
insert into webhook_deliveries (provider, payload_hash, payload, signed_at, received_at)
select %(provider)s::text, e.payload_hash, e.payload, e.received_at, e.received_at
from unnest(%(hashes)s::bytea[], %(payloads)s::bytea[], %(received_ats)s::timestamptz[])
  as e (payload_hash, payload, received_at)
order by e.payload_hash
on conflict (payload_hash) do nothing

-- name: close_inbound
-- Says what became of each mail, and whose it is. One that its message has already, by its Message-ID, is
-- a repeat. Acts for the tenant that the mails are given to, or for none.
with closing as (
  select c.*
  from jsonb_to_recordset(%(closings)s::jsonb) as c (
    id uuid, state webhook_state, problem text, outbound_message_id uuid, enrollment_id uuid, matched_by text,
    class inbound_class, mail_id text, from_address text, from_name text, subject text, sent_at timestamptz,
    body_text text, body_html text, returns_on date, detail jsonb
  )
), numbered as (
  select c.*,
    c.outbound_message_id is not null and c.mail_id is not null and (
      row_number() over (partition by c.outbound_message_id, c.mail_id order by c.id) > 1
      or exists (
        select from inbound_messages e
        where e.tenant_id = %(tenant_id)s::uuid and e.outbound_message_id = c.outbound_message_id
          and e.mail_id = c.mail_id and e.id <> c.id
      )
    ) as is_repeat
  from closing c
)
update inbound_messages m
set tenant_id = %(tenant_id)s::uuid, state = n.state, applied_at = now(), problem = n.problem,
  outbound_message_id = n.outbound_message_id, enrollment_id = n.enrollment_id, matched_by = n.matched_by,
  class = n.class, is_repeat = n.is_repeat, mail_id = n.mail_id, from_address = n.from_address,
  from_name = n.from_name, subject = n.subject, sent_at = n.sent_at, body_text = n.body_text,
  body_html = n.body_html, returns_on = n.returns_on, detail = coalesce(n.detail, '{}'), updated_at = now()
from numbered n
where m.id = n.id
