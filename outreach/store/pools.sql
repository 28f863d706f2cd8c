-- IP pools: what a tenant's senders share, and when senders and pools began.

-- name: list_pool_tokens
-- Tokens that each pool has left: the least over its windows, the day's within its warm-up. Read under
-- the tenant's lock.
select
  p.name,
  caps.minute as minute_cap, caps.hour as hour_cap, caps.day as day_cap,
  least(caps.minute - used.minute, caps.hour - used.hour, caps.day - used.day) as free,
  caps.ramp < caps.plain_day as is_warming,
  warm.seconds as warm_seconds,
  p.first_sent_at is null as is_new
from ip_pools p
left join send_rate_limits own on own.tenant_id = p.tenant_id and own.scope = 'pool' and own.key = p.name
left join send_rate_limits general on general.tenant_id = p.tenant_id and general.scope = 'pool' and general.key = ''
cross join lateral (
  select warm_seconds(p.first_sent_at, 0, 'good', p.created_at, statement_timestamp()) as seconds
) warm
cross join lateral (
  select given.minute, given.hour, given.plain_day, given.ramp, least(given.plain_day, given.ramp) as day
  from (
    select
      cap_in_force(own.per_minute_max, own.is_off, general.per_minute_max, general.is_off, %(minute_default)s::int) as minute,
      cap_in_force(own.per_hour_max, own.is_off, general.per_hour_max, general.is_off, %(hour_default)s::int) as hour,
      cap_in_force(own.per_day_max, own.is_off, general.per_day_max, general.is_off, %(day_default)s::int) as plain_day,
      ramp_cap(cap_in_force(own.warmup_max, own.is_off, general.warmup_max, general.is_off, %(warmup_default)s::int),
        warm.seconds) as ramp
  ) given
) caps
cross join lateral used_tokens(p.tenant_id, 'pool', p.name, statement_timestamp()) used
where p.tenant_id = %(tenant_id)s::uuid and p.name = any (%(names)s::text[]);

-- name: list_pools
-- The tenant's pools by name.
select name, first_sent_at
from ip_pools
where tenant_id = %(tenant_id)s::uuid
order by name
limit %(rows_max)s::int;

-- name: list_sender_pools
-- By which pool each of these senders sends, and since when.
select id as sender_id, ip_pool as name, ip_pool_at as since
from sender_identities
where tenant_id = %(tenant_id)s::uuid and id = any (%(sender_ids)s::uuid[]) and ip_pool is not null;

-- name: begin_warm_ups
-- Senders, and their pools, whose first mail was accepted now. Once each: the moment never moves.
with sender as (
  update sender_identities s
  set first_sent_at = now(), updated_at = now()
  where s.tenant_id = %(tenant_id)s::uuid and s.id = any (%(sender_ids)s::uuid[]) and s.first_sent_at is null
)
update ip_pools p
set first_sent_at = now(), updated_at = now()
from sender_identities s
where s.tenant_id = %(tenant_id)s::uuid and s.id = any (%(sender_ids)s::uuid[])
  and p.tenant_id = s.tenant_id and p.name = s.ip_pool and p.first_sent_at is null;

-- name: set_sender_pool
-- The sender goes by this pool from now on, which is made if it is new; null: by none.
with pool as (
  insert into ip_pools (tenant_id, name)
  select %(tenant_id)s::uuid, %(name)s::text
  where %(name)s::text is not null
  on conflict do nothing
)
update sender_identities
set ip_pool = %(name)s::text, ip_pool_at = clock_timestamp(), updated_at = now()
where tenant_id = %(tenant_id)s::uuid and id = %(sender_id)s::uuid and ip_pool is distinct from %(name)s::text;
