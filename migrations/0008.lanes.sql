-- Where to begin looking for what is due, and to which queue a tenant's sends belong.
--
-- What has been sent leaves dead entries at the head of an index until vacuum takes them away, and an
-- old snapshot keeps them for as long as it lives. A floor is a hint that nothing waits below it, so
-- that nobody walks over them. It may be wrong for a minute: `look_below_floors` asks without it.

-- depends: 0007.procrastinate

-- The floor of a lane: a sender's sends of one priority, in the order of `scheduled_actions_lane`.
-- Raised by claims; made, lowered and raised by the look below. No row: no floor.
create table lane_floors (
  tenant_id uuid not null,
  sender_id uuid not null,
  priority smallint not null,
  due_at timestamptz not null,
  action_id uuid not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, sender_id, priority),
  foreign key (tenant_id, sender_id) references sender_identities (tenant_id, id)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
select protect_tenant_table('lane_floors', 'select, update', 'select, update');

-- The floors of a tenant as a whole: of its sends, for the sweep; of its timers, for sweep and firing.
create table tenant_floors (
  tenant_id uuid primary key references tenants (id),
  send_at timestamptz not null,
  timer_at timestamptz not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
select protect_tenant_table('tenant_floors', 'select', 'select');

-- What every message touches is cleared of dead rows at a fiftieth of its size, and not at a fifth; jobs,
-- which live for moments, at a thousand dead ones, however few live.
alter table enrollments set (autovacuum_vacuum_scale_factor = 0.02);
alter table procrastinate_jobs set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
alter table procrastinate_events set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- The tenant's own queue of sends, null if it has none. For a caller that may act for no tenant.
create function own_queue(tenant uuid) returns text
language sql stable security definer set search_path = public, pg_temp
as $$ select 'sends.' || slug from tenants where id = tenant and has_own_queue $$;

-- Tenants with something to send now, or a timer due: the sweep's question, over all tenants. It asks
-- for the newest that is due, since the dead are among the oldest. A tenant that is parked is asked only
-- for what has come due since then, and not more often than each five seconds.
create function tenants_due(rows_max integer, ahead interval default '0')
returns table (tenant_id uuid, has_send boolean, has_timer boolean, own_queue text)
language sql stable security definer set search_path = public, pg_temp
as $$
  select t.id, due.has_send, due.has_timer, case when t.has_own_queue then 'sends.' || t.slug end
  from tenants t
  left join tenant_floors f on f.tenant_id = t.id
  cross join lateral (
    select case
      when t.parked_until is null or t.parked_until <= now() + ahead then coalesce(f.send_at, '-infinity')
      when t.parked_at <= now() - interval '5 seconds' then greatest(f.send_at, t.parked_at + interval '1 microsecond')
      else 'infinity' end as send_from
  ) look
  cross join lateral (
    select
      (
        select true from scheduled_actions a
        where a.tenant_id = t.id and a.state = 'pending' and a.kind = 'send' and a.held_by is null
          and a.priority >= 0 and a.due_at between look.send_from and now()
        order by a.due_at desc limit 1
      ) is not null as has_send,
      (
        select true from scheduled_actions a
        where a.tenant_id = t.id and a.state = 'pending' and a.kind = 'timeout' and a.held_by is null
          and a.due_at between coalesce(f.timer_at, '-infinity') and now()
        order by a.due_at desc limit 1
      ) is not null as has_timer
  ) due
  where t.state = 'active' and (due.has_send or due.has_timer)
  limit rows_max
$$;

-- Ask every lane and every tenant without its floor, and put the floor where something waits. Lowers
-- what was wrong, raises what has been left behind, makes what is missing where something waits. A floor
-- keeps `margin` from now, for transactions under way. Returns how many lanes were lowered: in each of
-- them something was hidden. Waits for launches that hold a floor; takes them in the order of their keys.
create function look_below_floors(margin interval) returns bigint
language sql security definer set search_path = public, pg_temp
as $$
  with lane as materialized (
    select s.tenant_id, s.id as sender_id, p.priority, f.due_at as old_due_at, f.action_id as old_action_id,
      least(head.due_at, now() - margin) as due_at,
      case when head.due_at < now() - margin then head.id else '00000000-0000-0000-0000-000000000000' end as action_id,
      head.id is not null as is_due
    from sender_identities s
    cross join (values (0::smallint), (1::smallint)) as p (priority)
    left join lane_floors f on f.tenant_id = s.tenant_id and f.sender_id = s.id and f.priority = p.priority
    left join lateral (
      select a.due_at, a.id from scheduled_actions a
      where a.tenant_id = s.tenant_id and a.sender_id = s.id and a.priority = p.priority
        and a.state = 'pending' and a.kind = 'send' and a.held_by is null and a.due_at <= now()
      order by a.due_at, a.id limit 1
    ) head on true
  ),
  moved as (
    insert into lane_floors as f (tenant_id, sender_id, priority, due_at, action_id)
    select tenant_id, sender_id, priority, due_at, action_id
    from lane
    where (old_due_at is null and is_due) or (due_at, action_id) < (old_due_at, old_action_id)
      or due_at > old_due_at + case when is_due then interval '1 minute' else interval '15 minutes' end
    order by tenant_id, sender_id, priority
    on conflict (tenant_id, sender_id, priority)
    do update set due_at = excluded.due_at, action_id = excluded.action_id, updated_at = now()
  ),
  tenant as materialized (
    select t.id as tenant_id, f.send_at as old_send_at, f.timer_at as old_timer_at,
      least(now() - interval '1 minute', (
        select a.due_at from scheduled_actions a
        where a.tenant_id = t.id and a.state = 'pending' and a.kind = 'send' and a.held_by is null
          and a.priority >= 0 and a.due_at <= now()
        order by a.due_at limit 1
      )) as send_at,
      least(now() - interval '1 minute', (
        select a.due_at from scheduled_actions a
        where a.tenant_id = t.id and a.state = 'pending' and a.kind = 'timeout' and a.held_by is null and a.due_at <= now()
        order by a.due_at limit 1
      )) as timer_at
    from tenants t
    left join tenant_floors f on f.tenant_id = t.id
  ),
  tenant_moved as (
    insert into tenant_floors as f (tenant_id, send_at, timer_at)
    select tenant_id, send_at, timer_at
    from tenant
    where old_send_at is null or send_at < old_send_at or timer_at < old_timer_at
      or greatest(send_at - old_send_at, timer_at - old_timer_at) > interval '1 minute'
    order by tenant_id
    on conflict (tenant_id) do update set send_at = excluded.send_at, timer_at = excluded.timer_at, updated_at = now()
  )
  select count(*) from lane where (due_at, action_id) < (old_due_at, old_action_id)
$$;

revoke all on function own_queue(uuid), tenants_due(integer, interval), look_below_floors(interval) from public;
grant execute on function own_queue(uuid) to outreach_app, outreach_worker, outreach_operator;
grant execute on function tenants_due(integer, interval), look_below_floors(interval) to outreach_worker;
