-- Keys of the HTTP API. As the operator, who sees those of every tenant.

-- name: insert_key
-- A key without its secret: only that one's hash is kept.
insert into api_keys (id, tenant_id, secret_hash, scopes)
values (%(id)s::uuid, %(tenant_id)s::uuid, %(secret_hash)s::bytea, %(scopes)s::text[])

-- name: list_keys
-- The keys of a tenant, or (null) the operators', newest first.
select id, tenant_id, scopes, created_at, expires_at, revoked_at
from api_keys
where tenant_id is not distinct from %(tenant_id)s::uuid
order by created_at desc, id desc
limit %(rows_max)s::integer

-- name: set_key_revoked_if_valid
-- The key opens nothing any more; returns whose it was.
update api_keys
set revoked_at = now(), updated_at = now()
where id = %(id)s::uuid and revoked_at is null
returning id, tenant_id, scopes, created_at, expires_at, revoked_at
