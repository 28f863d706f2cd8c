-- Sender identities: the addresses that a tenant's mail comes from.

-- name: insert_sender
-- Adds it unless its address is there; returns nothing.
insert into sender_identities (tenant_id, from_email, from_name, reply_to)
values (%(tenant_id)s::uuid, %(from_email)s::text, %(from_name)s::text, %(reply_to)s::text)
on conflict (tenant_id, lower(from_email)) do nothing

-- name: find_sender
-- The identity with this address, whatever its case.
select id, from_email, from_name, reply_to, state::text, verified_at, verified_by, paused_at,
  case when paused_at is not null then coalesce(paused_by, 'provider') end as paused_by, pause_reason, created_at,
  ip_pool
from sender_identities
where tenant_id = %(tenant_id)s::uuid and lower(from_email) = lower(%(from_email)s::text)

-- name: list_senders
-- The tenant's identities by address.
select id, from_email, from_name, reply_to, state::text, verified_at, verified_by, paused_at,
  case when paused_at is not null then coalesce(paused_by, 'provider') end as paused_by, pause_reason, created_at,
  ip_pool
from sender_identities
where tenant_id = %(tenant_id)s::uuid
order by lower(from_email)
limit %(rows_max)s::integer

-- name: set_sender_verified
-- Verified by the provider or by somebody's force. A pause by the provider is over: whoever verifies it has
-- just looked. A person's pause stays. A claim that has the row is waited for.
update sender_identities
set state = 'verified', verified_at = now(), verified_by = %(verified_by)s::text,
  paused_at = case when paused_by is not null then paused_at end,
  pause_reason = case when paused_by is not null then pause_reason end, updated_at = now()
where tenant_id = %(tenant_id)s::uuid and id = %(id)s::uuid

-- name: set_sender_unverified
-- The provider no longer vouches for it: nothing is sent from it.
update sender_identities
set state = 'unverified', verified_at = null, verified_by = null, updated_at = now()
where tenant_id = %(tenant_id)s::uuid and id = %(id)s::uuid and state = 'verified'

-- name: set_sender_paused_if_running
-- From its commit on nothing is armed for it: a claim shares this row. A pause by the provider becomes the
-- person's; a person's stays as it is.
update sender_identities
set paused_at = coalesce(paused_at, now()), paused_by = %(actor)s::text, pause_reason = %(reason)s::text, updated_at = now()
where tenant_id = %(tenant_id)s::uuid and id = %(id)s::uuid and paused_by is null

-- name: set_sender_resumed_if_paused
-- The pause is over, whoever began it.
update sender_identities
set paused_at = null, paused_by = null, pause_reason = null, updated_at = now()
where tenant_id = %(tenant_id)s::uuid and id = %(id)s::uuid and paused_at is not null
