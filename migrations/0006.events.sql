-- What the provider tells us: the body as received, and each event once.

-- depends: 0005.sending

-- Raw bodies belong to no tenant: one may speak of many.
create table webhook_deliveries (
  id uuid primary key default new_id(),
  provider text not null,
  received_at timestamptz not null default now(),
  payload_hash bytea not null unique check (length(payload_hash) = 32),  -- SHA-256 of provider and body; a retry has a newer timestamp
  payload bytea not null,
  signed_at timestamptz,  -- the provider's timestamp
  state webhook_state not null default 'received',
  applied_at timestamptz,
  problem text,  -- of a quarantined body
  events_count integer,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check ((state = 'received') = (applied_at is null))
);
create index webhook_deliveries_to_apply on webhook_deliveries (received_at) where state = 'received';
create index webhook_deliveries_by_time on webhook_deliveries (received_at);
alter table webhook_deliveries enable row level security;
alter table webhook_deliveries force row level security;
create policy owner_sees_all on webhook_deliveries to current_user using (true) with check (true);
create policy reader_sees_all on webhook_deliveries for select to outreach_readonly using (true);
create policy web_stores on webhook_deliveries for insert to outreach_app with check (true);
create policy worker_applies on webhook_deliveries to outreach_worker using (true) with check (true);
grant select on webhook_deliveries to outreach_readonly;
grant insert on webhook_deliveries to outreach_app;
grant select, insert, update on webhook_deliveries to outreach_worker;

-- Events in our words, a partition a month. `message_event_keys` keeps each event once over all of them.
create table message_events (
  tenant_id uuid not null,
  id uuid not null default new_id(),
  provider text not null,
  provider_event_id text not null,
  outbound_message_id uuid not null,
  enrollment_id uuid not null,
  event_type event_type not null,
  event_at timestamptz not null,
  is_machine boolean not null default false,
  machine_reason text,  -- why it is taken for a machine's: core/machine_events
  attempt smallint,
  reason text,
  detail jsonb not null default '{}',
  received_at timestamptz not null default now(),
  created_at timestamptz not null default now(),
  primary key (tenant_id, id, event_at),
  foreign key (tenant_id, outbound_message_id) references outbound_messages (tenant_id, id)
) partition by range (event_at);
create index message_events_of_message on message_events (tenant_id, outbound_message_id, event_at);
create table message_events_default partition of message_events default;
select protect_tenant_table('message_events', 'select', 'select, insert');
-- An event never changes, but whether a person made it is known from what else happened around it.
grant update (is_machine, machine_reason) on message_events to outreach_worker;

create table message_event_keys (
  tenant_id uuid not null,
  provider text not null,
  provider_event_id text not null,
  event_at timestamptz not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, provider, provider_event_id)
);
select protect_tenant_table('message_event_keys', 'select', 'select, insert');

-- Make the months from the last one to `months` ahead. A month whose rows already lie in the default
-- partition keeps them there, until they are brought out of it. Where a lock is not to be had, the next run tries.
create function make_event_partitions(months integer) returns integer
language plpgsql security definer set search_path = public, pg_temp set lock_timeout = '500ms'
as $$
declare
  month timestamptz;
  name text;
  made integer := 0;
begin
  for month in
    select date_trunc('month', now() at time zone 'UTC') at time zone 'UTC' + make_interval(months => n)
    from generate_series(-1, months) as n
  loop
    name := 'message_events_' || to_char(month at time zone 'UTC', 'YYYY_MM');
    continue when to_regclass(name) is not null;
    begin
      execute format('create table %I partition of message_events for values from (%L) to (%L)',
        name, month, (month at time zone 'UTC' + interval '1 month') at time zone 'UTC');
      execute format('alter table %I enable row level security', name);
      execute format('alter table %I force row level security', name);
      execute format('create policy owner_sees_all on %I to %I using (true) with check (true)', name, current_user);
      made := made + 1;
    exception when check_violation or duplicate_table or lock_not_available then
      null;
    end;
  end loop;
  return made;
end
$$;
revoke all on function make_event_partitions(integer) from public;
grant execute on function make_event_partitions(integer) to outreach_worker;
set local timezone = 'UTC';
select make_event_partitions(3);
-- Rows are reached through the parent only, whose policies bind; a partition itself shows nothing.
alter table message_events_default enable row level security;
alter table message_events_default force row level security;
create policy owner_sees_all on message_events_default to current_user using (true) with check (true);

-- Events that belong to nobody we know, with the reason; adopted when their message becomes known.
create table unmatched_events (
  id uuid primary key default new_id(),
  provider text not null,
  provider_event_id text not null,
  reason text not null,
  payload jsonb not null,
  delivery_id uuid,
  received_at timestamptz not null default now(),
  adopted_at timestamptz,
  look_at timestamptz not null default now(),  -- when its message is looked for again; ever more rarely
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (provider, provider_event_id)
);
create index unmatched_events_open on unmatched_events (look_at)
  where adopted_at is null and reason = 'unknown_message';
create index unmatched_events_by_time on unmatched_events (received_at);
alter table unmatched_events enable row level security;
alter table unmatched_events force row level security;
create policy owner_sees_all on unmatched_events to current_user using (true) with check (true);
create policy reader_sees_all on unmatched_events for select to outreach_readonly using (true);
create policy worker_keeps on unmatched_events to outreach_worker using (true) with check (true);
grant select on unmatched_events to outreach_readonly;
grant select, insert, update on unmatched_events to outreach_worker;

-- Whose message is it? Over all tenants, because a body may speak of many: by our own ids where an event
-- has them, else by the provider's id. One row for each reference that is known; a reference may be given
-- several times with different provider ids.
create function resolve_messages(refs integer[], tenant_ids uuid[], message_ids uuid[], provider_ids text[])
returns table (ref integer, tenant_id uuid, message_id uuid, enrollment_id uuid)
language sql stable security definer set search_path = public, pg_temp
as $$
  select r.ref, m.tenant_id, m.id, m.enrollment_id
  from unnest(refs, tenant_ids, message_ids, provider_ids) as r (ref, tenant_id, message_id, provider_id)
  join outbound_messages m on m.tenant_id = r.tenant_id and m.id = r.message_id
  union all
  select r.ref, m.tenant_id, m.id, m.enrollment_id
  from unnest(refs, tenant_ids, message_ids, provider_ids) as r (ref, tenant_id, message_id, provider_id)
  join send_attempts a on a.provider_message_id = r.provider_id
  join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
  where r.message_id is null
$$;

-- The tenant that a message really belongs to, for an event that names another. Rare, so no index of its own.
create function tenants_of_messages(message_ids uuid[]) returns table (message_id uuid, tenant_id uuid)
language sql stable security definer set search_path = public, pg_temp
as $$
  select m.id, m.tenant_id
  from unnest(message_ids) as r (id)
  cross join tenants t
  join outbound_messages m on m.tenant_id = t.id and m.id = r.id
$$;
-- Of the mails of the account that were armed between two moments and that the provider answered with a yes:
-- how many, up to a bound, and how many of them any event has spoken of.
create function sends_told(since timestamptz, until timestamptz, rows_max integer) returns table (accepted bigint, told bigint)
language sql stable security definer set search_path = public, pg_temp set enable_seqscan = off
as $$
  select count(*), count(*) filter (where exists (
    select from message_events e
    where e.tenant_id = a.tenant_id and e.outbound_message_id = a.message_id and e.event_at > since - interval '1 day'
  ))
  from (
    select a.tenant_id, a.message_id
    from send_attempts a
    where a.armed_at > since and a.armed_at <= until and a.outcome = 'accepted' and a.settled_by = 'answer'
    limit rows_max
  ) a
$$;
revoke all on function sends_told(timestamptz, timestamptz, integer) from public;
grant execute on function sends_told(timestamptz, timestamptz, integer) to outreach_worker;

revoke all on function resolve_messages(integer[], uuid[], uuid[], text[]), tenants_of_messages(uuid[]) from public;
grant execute on function resolve_messages(integer[], uuid[], uuid[], text[]), tenants_of_messages(uuid[]) to outreach_worker;

-- An alarm about the account is everybody's who has a campaign on it that runs: sending has stopped for all.
create function raise_account_incident(of_code text, of_subject text, of_detail jsonb) returns bigint
language sql security definer set search_path = public, pg_temp
as $$
  with raised as (
    insert into incidents (tenant_id, code, subject, detail)
    select t.id, of_code, of_subject, of_detail
    from tenants t
    where exists (select from campaigns k where k.tenant_id = t.id and k.state in ('active', 'paused'))
    order by t.id
    on conflict (tenant_id, code, subject) do update
      set detail = excluded.detail, closed_at = null, updated_at = now()
    returning 1
  )
  select count(*) from raised
$$;
revoke all on function raise_account_incident(text, text, jsonb) from public;
grant execute on function raise_account_incident(text, text, jsonb) to outreach_worker;
