-- Tenants, their pauses, and the installation that they share.

-- name: find_tenant_id
-- The id of a slug, for a caller that acts for no tenant yet.
select tenant_of_slug(%(slug)s::text)

-- name: insert_tenant
-- Makes it unless the slug is taken; returns its id if it is new. As the operator.
insert into tenants (slug, name, timezone, postal_address, weight, has_own_queue)
values (
  %(slug)s::text, %(name)s::text, %(timezone)s::text, %(postal_address)s::text, %(weight)s::int, %(has_own_queue)s::boolean)
on conflict (slug) do nothing
returning id

-- name: set_postal_address_if_missing
-- Fills in what a launch asks for; an address that is there stays. As the operator. No row: nothing was filled in.
update tenants
set postal_address = %(postal_address)s::text, updated_at = now()
where slug = %(slug)s::text and postal_address is null
returning id

-- name: set_tenant_share
-- How it shares the workers; null leaves a value as it is. As the operator. No row: it was so already.
update tenants
set weight = coalesce(%(weight)s::int, weight), has_own_queue = coalesce(%(has_own_queue)s::boolean, has_own_queue),
  updated_at = now()
where id = %(tenant_id)s::uuid
  and (weight, has_own_queue) is distinct from
    (coalesce(%(weight)s::int, weight), coalesce(%(has_own_queue)s::boolean, has_own_queue))

-- name: find_tenant
-- One tenant by its slug. As the operator.
select id, slug, name, state::text, timezone, postal_address, paused_at, paused_by, pause_reason, created_at, weight,
  has_own_queue
from tenants
where slug = %(slug)s::text

-- name: list_tenants
-- The page after a slug. As the operator.
select id, slug, name, state::text, timezone, postal_address, paused_at, paused_by, pause_reason, created_at, weight,
  has_own_queue
from tenants
where slug > %(after)s::text
order by slug
limit %(rows_max)s::integer

-- name: set_tenant_paused_if_active
-- The pause itself: whoever holds the row for a claim is waited for. No row: it was paused already.
update tenants
set state = 'paused', paused_at = now(), paused_by = %(actor)s::text, pause_reason = %(reason)s::text, updated_at = now()
where id = %(tenant_id)s::uuid and state = 'active'

-- name: set_tenant_active_if_paused
-- The end of it; the tenant is looked at again at once.
update tenants
set state = 'active', paused_at = null, paused_by = null, pause_reason = null, parked_until = null, updated_at = now()
where id = %(tenant_id)s::uuid and state = 'paused'

-- name: get_installation
-- The one row.
select state::text, paused_at, paused_by, pause_reason from installation

-- name: set_installation_paused_if_active
-- As set_tenant_paused_if_active, for everybody.
update installation
set state = 'paused', paused_at = now(), paused_by = %(actor)s::text, pause_reason = %(reason)s::text, updated_at = now()
where state = 'active'

-- name: set_installation_active_if_paused
-- Everybody's pause ends, the one that the provider's refusal of the account caused too: whoever says so
-- has seen to the account, and if not the next answer pauses it again.
update installation
set state = 'active', paused_at = null, paused_by = null, pause_reason = null,
  provider_paused_at = null, provider_pause_reason = null, updated_at = now()
where state = 'paused' or provider_paused_at is not null
