-- Sender identities: the addresses that a tenant's mail comes from.

-- name: insert_sender
-- Adds it unless its address is there; returns nothing.
insert into sender_identities (tenant_id, from_email, from_name, reply_to)
values (%(tenant_id)s::uuid, %(from_email)s::text, %(from_name)s::text, %(reply_to)s::text)
on conflict (tenant_id, lower(from_email)) do nothing

-- name: find_sender
-- The identity with this address, whatever its case.
select id, from_email, from_name, reply_to, state::text, verified_at, verified_by, paused_at, pause_reason, created_at
from sender_identities
where tenant_id = %(tenant_id)s::uuid and lower(from_email) = lower(%(from_email)s::text)

-- name: list_senders
-- The tenant's identities by address.
select id, from_email, from_name, reply_to, state::text, verified_at, verified_by, paused_at, pause_reason, created_at
from sender_identities
where tenant_id = %(tenant_id)s::uuid
order by lower(from_email)
limit %(rows_max)s::integer

-- name: set_sender_verified
-- Verified by the provider or by somebody's force. What paused it before is over: whoever verifies it
-- has just looked. A claim that has the row is waited for.
update sender_identities
set state = 'verified', verified_at = now(), verified_by = %(verified_by)s::text,
  paused_at = null, pause_reason = null, updated_at = now()
where tenant_id = %(tenant_id)s::uuid and id = %(id)s::uuid

-- name: set_sender_unverified
-- The provider no longer vouches for it: nothing is sent from it.
update sender_identities
set state = 'unverified', verified_at = null, verified_by = null, updated_at = now()
where tenant_id = %(tenant_id)s::uuid and id = %(id)s::uuid and state = 'verified'

-- name: end_sender_holds
-- What was held because the sender was not verified or paused is held no longer.
update send_holds
set ended_at = now(), updated_at = now()
where tenant_id = %(tenant_id)s::uuid and scope = 'sender' and subject_id = %(id)s::uuid
  and reason in ('sender_unverified', 'sender_paused') and ended_at is null

-- name: release_sender_actions
-- Puts back what was held for this sender, in its old order.
with held as (
  select a.id
  from scheduled_actions a
  where a.tenant_id = %(tenant_id)s::uuid and a.held_by = 'sender' and a.sender_id = %(id)s::uuid
  order by a.id
  for no key update
)
update scheduled_actions a
set held_by = null, updated_at = now()
from held h
where a.tenant_id = %(tenant_id)s::uuid and a.id = h.id and a.held_by = 'sender'
