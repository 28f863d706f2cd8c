-- name: list_counters
-- The counters of some keys, to say how much is free and when more will be.
select c.scope, c.key, c.window_seconds, c.bucket_at, c.bucket_used, c.promised_until
from unnest(%(scopes)s::text[], %(keys)s::text[]) as k (scope, key)
join rate_limit_counters c on c.tenant_id = %(tenant_id)s::uuid and c.scope = k.scope and c.key = k.key;

-- name: list_installation_counters
-- The installation's counters, to say when more will be free.
select window_seconds, bucket_at, bucket_used from installation_counters;

-- name: take_tokens
-- Add tokens to counters (the tenant's lock is held).
insert into rate_limit_counters as c (tenant_id, scope, key, window_seconds, bucket_at, bucket_used)
select %(tenant_id)s::uuid, n.scope, n.key, n.window_seconds, array[n.bucket], array[n.count]
from unnest(%(scopes)s::text[], %(keys)s::text[], %(windows)s::int[], %(buckets)s::int[], %(counts)s::int[])
  as n (scope, key, window_seconds, bucket, count)
on conflict (tenant_id, scope, key, window_seconds) do update
set (bucket_at, bucket_used) = (
    select t.bucket_at, t.bucket_used
    from add_tokens(c.bucket_at, c.bucket_used, excluded.bucket_at[1], excluded.bucket_used[1],
      expired_bucket(%(at)s::timestamptz, c.window_seconds)) t
  ),
  updated_at = now();

-- name: give_back_tokens
-- Tokens of requests that certainly were not made return to the buckets that they were taken from
-- (the tenant's lock is held).
with back as (
  select g.scope, g.key, g.window_seconds, g.bucket, sum(g.count)::int as count
  from unnest(%(scopes)s::text[], %(keys)s::text[], %(windows)s::int[], %(buckets)s::int[], %(counts)s::int[])
    as g (scope, key, window_seconds, bucket, count)
  group by g.scope, g.key, g.window_seconds, g.bucket
)
update rate_limit_counters c
set bucket_used = (
    select array_agg(greatest(b.used - coalesce(r.count, 0), 0) order by b.at)
    from unnest(c.bucket_at, c.bucket_used) as b (at, used)
    left join back r on r.scope = c.scope and r.key = c.key and r.window_seconds = c.window_seconds and r.bucket = b.at
  ),
  updated_at = now()
from (select scope, key, window_seconds, array_agg(bucket) as buckets from back group by 1, 2, 3) n
where c.tenant_id = %(tenant_id)s::uuid and c.scope = n.scope and c.key = n.key and c.window_seconds = n.window_seconds
  and c.bucket_at && n.buckets;

-- name: promise
-- Remember how far a key's promises reach, so that the next refused row is promised a later moment.
update rate_limit_counters c
set promised_until = p.until, updated_at = now()
from unnest(%(scopes)s::text[], %(keys)s::text[], %(windows)s::int[], %(untils)s::timestamptz[])
  as p (scope, key, window_seconds, until)
where c.tenant_id = %(tenant_id)s::uuid and c.scope = p.scope and c.key = p.key and c.window_seconds = p.window_seconds;

-- name: take_installation
-- The installation's tokens, or none: fewer rows back than windows with a cap means that another
-- tenant took them meanwhile. The last statement before commit, because every tenant waits for it.
update installation_counters c
set (bucket_at, bucket_used) = (
    select t.bucket_at, t.bucket_used
    from add_tokens(c.bucket_at, c.bucket_used, n.bucket, %(count)s::int, expired_bucket(%(at)s::timestamptz, c.window_seconds)) t
  ),
  updated_at = now()
from unnest(%(windows)s::int[], %(buckets)s::int[], %(caps)s::int[]) as n (window_seconds, bucket, cap)
where c.window_seconds = n.window_seconds
  and live_tokens(c.bucket_at, c.bucket_used, expired_bucket(%(at)s::timestamptz, n.window_seconds))
    + %(count)s::int <= n.cap
returning c.window_seconds;

-- name: give_back_installation
-- As give_back_tokens, for the installation.
with back as (
  select g.window_seconds, g.bucket, sum(g.count)::int as count
  from unnest(%(windows)s::int[], %(buckets)s::int[], %(counts)s::int[]) as g (window_seconds, bucket, count)
  group by g.window_seconds, g.bucket
)
update installation_counters c
set bucket_used = (
    select array_agg(greatest(b.used - coalesce(r.count, 0), 0) order by b.at)
    from unnest(c.bucket_at, c.bucket_used) as b (at, used)
    left join back r on r.window_seconds = c.window_seconds and r.bucket = b.at
  ),
  updated_at = now()
from (select window_seconds, array_agg(bucket) as buckets from back group by 1) n
where c.window_seconds = n.window_seconds and c.bucket_at && n.buckets;
