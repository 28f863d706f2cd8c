-- Addresses and domains that a tenant must not write to, and the flag that its contacts carry of it.

-- name: share_suppressions
-- Held by whoever adds suppressions, to the transaction's end; adders do not wait for each other.
select pg_advisory_xact_lock_shared(hashtextextended(%(tenant_id)s::uuid::text, 2))

-- name: lock_suppressions
-- Held by whoever must know every suppression there is: a lift, an import of new contacts.
select pg_advisory_xact_lock(hashtextextended(%(tenant_id)s::uuid::text, 2))

-- name: insert_suppressions
-- Adds what is not in force yet, once for a value and a reason; returns how many that were.
with entries as (
  select distinct on (lower(e.value), e.reason) e.value, e.reason, e.source, e.note, e.created_by
  from unnest(
    %(entry_values)s::text[], %(reasons)s::suppression_reason[], %(sources)s::text[],
    %(notes)s::text[], %(actors)s::text[]
  ) with ordinality as e (value, reason, source, note, created_by, place)
  order by lower(e.value), e.reason, e.place
), added as (
  insert into suppressions (tenant_id, value, reason, source, note, created_by)
  select %(tenant_id)s::uuid, e.value, e.reason, e.source, e.note, e.created_by
  from entries e
  order by lower(e.value), e.reason
  on conflict (tenant_id, channel, value_key, (reason_text(reason))) where lifted_at is null do nothing
  returning 1
)
select count(*) from added

-- name: lift_suppressions
-- Ends what is in force for a value, of one reason or (null) of all; returns what it ended.
update suppressions s
set lifted_at = now(), lifted_by = %(lifted_by)s::text, lift_reason = %(lift_reason)s::text, updated_at = now()
where s.tenant_id = %(tenant_id)s::uuid
  and s.channel = 'email'
  and s.value_key = lower(%(value)s::text)
  and s.lifted_at is null
  and (%(reason)s::suppression_reason is null or s.reason = %(reason)s::suppression_reason)
returning s.reason::text

-- name: refresh_contact_flags
-- Makes the contacts of these addresses carry their latest suppression in force, or none.
-- Locks those that change, in id order; so it waits for a claim that has one, and a later claim sees it.
-- One index lookup an address: without statistics a plain join reads all that the tenant has.
with keys as (
  select distinct lower(k.value) as email_key from unnest(%(addresses)s::text[]) as k (value)
), target as (
  select c.id, s.reason, s.created_at
  from keys k
  left join lateral (
    select s.reason, s.created_at from suppressions s
    where s.tenant_id = %(tenant_id)s::uuid and s.channel = 'email' and s.value_key = k.email_key and s.lifted_at is null
    order by s.created_at desc
    limit 1
  ) s on true
  cross join lateral (
    select c.id from contacts c
    where c.tenant_id = %(tenant_id)s::uuid and c.email_key = k.email_key and c.suppressed_reason is distinct from s.reason
    limit 1
  ) c
), locked as (
  select c.id from contacts c
  where c.tenant_id = %(tenant_id)s::uuid and c.id = any (array(select t.id from target t))
  order by c.id
  for no key update of c
)
update contacts c
set suppressed_reason = t.reason, suppressed_at = t.created_at, updated_at = now()
from target t
where c.tenant_id = %(tenant_id)s::uuid and c.id = t.id and c.id = any (array(select l.id from locked l))

-- name: list_suppressions
-- A page by value; lifted ones too where asked for, then the newest of a value first.
select s.id, s.value, s.reason::text, s.source, s.note, s.created_at, s.created_by, s.lifted_at, s.lifted_by, s.lift_reason
from suppressions s
where s.tenant_id = %(tenant_id)s::uuid
  and s.channel = 'email'
  and (%(value)s::text is null or s.value_key = lower(%(value)s::text))
  and (%(with_lifted)s::boolean or s.lifted_at is null)
order by s.value_key, reason_text(s.reason), s.created_at desc
limit %(rows_max)s::integer

-- name: list_suppressions_in_force
-- The page after a value and reason, in the order of the index.
select s.value, s.value_key, s.reason::text, s.source, s.note, s.created_at, s.created_by
from suppressions s
where s.tenant_id = %(tenant_id)s::uuid
  and s.channel = 'email'
  and s.lifted_at is null
  and (s.value_key, reason_text(s.reason)) > (%(after_key)s::text, %(after_reason)s::text)
order by s.value_key, reason_text(s.reason)
limit %(rows_max)s::integer
