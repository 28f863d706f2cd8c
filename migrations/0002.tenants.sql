-- The installation, its tenants, their keys, and the record of people's acts.

-- depends: 0001.roles

-- One row: what holds for everybody who shares the provider account.
create table installation (
  is_only boolean primary key default true check (is_only),
  state pause_state not null default 'active',
  paused_at timestamptz,
  paused_by text,
  pause_reason text,
  -- The provider refuses the account (401, quota): nothing is sent until a person or a probe ends it.
  provider_paused_at timestamptz,
  provider_pause_reason text,
  -- The provider asked to come back (429): nothing is sent before this moment.
  provider_later_until timestamptz,
  -- Waits of the breaker one after the other, each longer than the one before.
  provider_failures integer not null default 0 check (provider_failures >= 0),
  -- The fence (docs/data-loss.md): nothing is sent while a loss of data is not settled, nor by a server
  -- run or in a database of which nobody has found that it remembers everything. Null: no worker yet.
  data_loss_held_at timestamptz,
  data_loss_reason text,
  data_loss_detail jsonb not null default '{}',
  fence_system_identifier bigint,
  fence_database bigint,
  fence_timeline integer,
  fence_started_at timestamptz,  -- when that run of the server began
  fence_epoch integer not null default 0,  -- marks of workers that are older than an approval say nothing
  fence_approved_at timestamptz,  -- by whoever: the first worker, or the last operator
  failover_expected_until timestamptz,
  -- Limits of the whole installation; null is the default of core/limits.py.
  per_minute_max integer check (per_minute_max >= 0),
  per_hour_max integer check (per_hour_max >= 0),
  per_day_max integer check (per_day_max >= 0),
  concurrent_max integer check (concurrent_max > 0),
  is_limit_off boolean not null default false,
  -- Webhooks turned away before they could become a row.
  webhooks_refused bigint not null default 0,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check ((state = 'paused') = (paused_at is not null)),
  check ((data_loss_held_at is null) = (data_loss_reason is null)),
  check (num_nulls(fence_system_identifier, fence_database, fence_timeline, fence_started_at, fence_approved_at) in (0, 5))
);
insert into installation default values;
alter table installation enable row level security;
alter table installation force row level security;
create policy owner_sees_all on installation to current_user using (true) with check (true);
create policy everybody_reads on installation for select
  to outreach_app, outreach_worker, outreach_operator, outreach_readonly using (true);
create policy operator_changes on installation for update to outreach_operator using (true) with check (true);
create policy worker_changes on installation for update to outreach_worker using (true) with check (true);
grant select on installation to outreach_app, outreach_worker, outreach_operator, outreach_readonly;
grant update on installation to outreach_operator;
grant update (provider_paused_at, provider_pause_reason, provider_later_until, provider_failures, updated_at) on installation to outreach_worker;

-- How far each worker has seen the database come. It remembers the same outside, and compares.
create table fence_pulses (
  worker_id uuid primary key,
  sequence bigint not null,
  pulsed_at timestamptz not null default now(),
  ended_at timestamptz,  -- it ended in good order, and need not be asked after a restart
  proven_started_at timestamptz,  -- the server run in which nothing that it remembers was found missing
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
) with (fillfactor = 50);
alter table fence_pulses enable row level security;
alter table fence_pulses force row level security;
create policy owner_sees_all on fence_pulses to current_user using (true) with check (true);
create policy worker_pulses on fence_pulses to outreach_worker using (true) with check (true);
create policy others_read on fence_pulses for select to outreach_operator, outreach_readonly using (true);
grant select on fence_pulses to outreach_operator, outreach_readonly;
grant select, insert, update, delete on fence_pulses to outreach_worker;

-- How much went out in each sub-bucket of each window, over all tenants (core/limits.py).
create table installation_counters (
  window_seconds integer primary key,
  bucket_at integer[] not null default '{}',
  bucket_used integer[] not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check (cardinality(bucket_at) = cardinality(bucket_used))
) with (fillfactor = 50);
insert into installation_counters (window_seconds) values (60), (3600), (86400);
alter table installation_counters enable row level security;
alter table installation_counters force row level security;
create policy owner_sees_all on installation_counters to current_user using (true) with check (true);
create policy everybody_reads on installation_counters for select
  to outreach_app, outreach_worker, outreach_operator, outreach_readonly using (true);
create policy worker_counts on installation_counters for update to outreach_worker using (true) with check (true);
grant select on installation_counters to outreach_app, outreach_worker, outreach_operator, outreach_readonly;
grant update on installation_counters to outreach_worker;

create table tenants (
  id uuid primary key default new_id(),
  slug text not null unique check (slug ~ '^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$'),  -- fits a queue name
  name text not null check (name <> ''),
  state pause_state not null default 'active',
  paused_at timestamptz,
  paused_by text,
  pause_reason text,
  timezone text not null default 'UTC',
  postal_address text check (postal_address <> ''),  -- in the footer of every mail; launch needs it
  one_live_enrollment boolean not null default true,  -- a contact is in one campaign at a time
  allows_risky_addresses boolean not null default true,
  is_tracking_opens boolean not null default true,
  is_tracking_clicks boolean not null default true,
  weight integer not null default 1 check (weight between 1 and 100),  -- its share of workers beside other tenants'
  has_own_queue boolean not null default false,  -- its sends wait in `sends.<slug>`, for workers of its own
  parked_until timestamptz,  -- a hint: what was due at parked_at cannot be claimed before; the sweep passes over it
  parked_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check ((state = 'paused') = (paused_at is not null))
);
alter table tenants enable row level security;
alter table tenants force row level security;
create policy owner_sees_all on tenants to current_user using (true) with check (true);
create policy reader_sees_all on tenants for select to outreach_readonly using (true);
create policy operator_sees_all on tenants to outreach_operator using (true) with check (true);
create policy tenant_sees_own on tenants to outreach_app, outreach_worker
  using (id = (select app_tenant())) with check (id = (select app_tenant()));
grant select on tenants to outreach_app, outreach_worker, outreach_readonly;
grant select, insert, update on tenants to outreach_operator;
-- What row locks need, and the parking hint.
grant update (parked_until, parked_at, updated_at) on tenants to outreach_app, outreach_worker;

-- Keys of the HTTP API. An operator's key belongs to no tenant; the secret itself is never stored.
create table api_keys (
  id uuid primary key default new_id(),
  tenant_id uuid references tenants (id),
  secret_hash bytea not null check (length(secret_hash) = 32),  -- SHA-256; the secret has 256 bits
  scopes text[] not null check (scopes <@ array['read', 'write', 'admin', 'operator'] and cardinality(scopes) > 0),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  expires_at timestamptz,
  revoked_at timestamptz,
  check ((tenant_id is null) = ('operator' = any (scopes)))
);
create index api_keys_of_tenant on api_keys (tenant_id);
alter table api_keys enable row level security;
alter table api_keys force row level security;
create policy owner_sees_all on api_keys to current_user using (true) with check (true);
create policy operator_sees_all on api_keys to outreach_operator using (true) with check (true);
create policy tenant_sees_own on api_keys to outreach_app
  using (tenant_id = (select app_tenant())) with check (tenant_id = (select app_tenant()));
grant select, insert, update on api_keys to outreach_operator, outreach_app;

-- Acts of people and operators. Rows are only ever added.
create table audit_log (
  id uuid primary key default new_id(),
  tenant_id uuid references tenants (id),  -- null: the whole installation
  actor text not null,
  act text not null,
  subject text not null,
  reason text,
  detail jsonb not null default '{}',
  created_at timestamptz not null default now()
);
create index audit_log_of_tenant on audit_log (tenant_id, created_at);
alter table audit_log enable row level security;
alter table audit_log force row level security;
create policy owner_sees_all on audit_log to current_user using (true) with check (true);
create policy reader_sees_all on audit_log for select to outreach_readonly using (true);
create policy operator_sees_all on audit_log to outreach_operator using (true) with check (true);
create policy tenant_sees_own on audit_log to outreach_app, outreach_worker
  using (tenant_id = (select app_tenant())) with check (tenant_id = (select app_tenant()));
grant select on audit_log to outreach_readonly;
grant select, insert on audit_log to outreach_operator, outreach_app, outreach_worker;

-- Webhooks that were turned away leave no row, only this count. Claims lock the installation's row,
-- so a flood of forgeries is counted by the handful, not one transaction each.
create function count_refused_webhooks(many bigint) returns void
language sql security definer set search_path = public, pg_temp
as $$ update installation set webhooks_refused = webhooks_refused + many $$;
revoke all on function count_refused_webhooks(bigint) from public;
grant execute on function count_refused_webhooks(bigint) to outreach_app;

-- The tenant of a slug, for a caller that acts for no tenant yet.
create function tenant_of_slug(wanted text) returns uuid
language sql stable security definer set search_path = public, pg_temp
as $$ select id from tenants where slug = wanted $$;
revoke all on function tenant_of_slug(text) from public;
grant execute on function tenant_of_slug(text) to outreach_app, outreach_operator;
