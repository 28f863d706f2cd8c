-- Tenants, their pauses, and the installation that they share.

-- name: find_tenant_id
-- The id of a slug, for a caller that acts for no tenant yet.
select tenant_of_slug(%(slug)s::text)
