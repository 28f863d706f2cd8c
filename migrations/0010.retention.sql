-- How long events and bodies stay: rows outside their month are brought there, old months and bodies go by policy.

-- depends: 0009.replies

-- The months of events that have a partition of their own.
create function event_months() returns table (name text, since timestamptz)
language sql stable set search_path = public, pg_temp set timezone = 'UTC'
as $$
  select c.relname::text, to_timestamp(right(c.relname::text, 7), 'YYYY_MM')
  from pg_inherits i
  join pg_class c on c.oid = i.inhrelid
  where i.inhparent = 'message_events'::regclass and c.relname ~ '^message_events_\d{4}_\d{2}$'
$$;

-- How the months stand: rows that lie in the default partition, counted up to a bound, and whether next month has a place.
create function event_months_standing(rows_max integer) returns table (out_of_place integer, is_next_made boolean)
language sql stable security definer set search_path = public, pg_temp set timezone = 'UTC'
as $$
  select (select count(*)::int from (select from message_events_default limit rows_max) e),
    exists (select from event_months() m where m.since = date_trunc('month', now()) + interval '1 month')
$$;

-- Bring one month's rows out of the default partition into one of their own, all of them or none; how many.
-- Left where they are: more rows than `rows_max`, which would hold others up, and moments ten years ago or
-- further ahead than months are made. Gives up at once where a lock is not to be had, for the next run to try.
create function place_default_events(rows_max integer, months_ahead integer) returns integer
language plpgsql security definer set search_path = public, pg_temp set timezone = 'UTC' set lock_timeout = '500ms'
as $$
declare
  month timestamptz;
  following timestamptz;
  name text;
  moved integer;
begin
  select date_trunc('month', e.event_at) into month
  from (select d.event_at from message_events_default d limit 10 * rows_max) e
  where e.event_at >= now() - interval '10 years'
    and e.event_at < date_trunc('month', now()) + make_interval(months => months_ahead + 1)
  group by 1
  having count(*) <= rows_max
  order by 1
  limit 1;
  if month is null then
    return 0;
  end if;
  name := 'message_events_' || to_char(month, 'YYYY_MM');
  following := month + interval '1 month';
  if to_regclass(name) is not null then
    return 0;
  end if;
  lock table outbound_messages in share row exclusive mode;
  lock table message_events_default in access exclusive mode;
  execute format('create table %I (like message_events including defaults including constraints)', name);
  execute format('insert into %I select * from message_events_default where event_at >= $1 and event_at < $2', name)
    using month, following;
  get diagnostics moved = row_count;
  delete from message_events_default where event_at >= month and event_at < following;
  execute format('alter table message_events attach partition %I for values from (%L) to (%L)', name, month, following);
  execute format('alter table %I enable row level security', name);
  execute format('alter table %I force row level security', name);
  execute format('create policy owner_sees_all on %I to %I using (true) with check (true)', name, current_user);
  return moved;
exception when lock_not_available then
  return 0;
end
$$;

-- Take the oldest month out that ended so many months ago: dropped, or kept beside as a table that nothing reads.
-- Its name, or null where there is none or a lock is not to be had. The keys of its events stay, so that none comes back.
create function retire_event_month(keep_months integer, is_dropped boolean) returns text
language plpgsql security definer set search_path = public, pg_temp set timezone = 'UTC' set lock_timeout = '500ms'
as $$
declare
  month text;
  foreign_key text;
  kept text;
begin
  select m.name into month
  from event_months() m
  where m.since + interval '1 month' <= date_trunc('month', now()) - make_interval(months => keep_months)
  order by m.since
  limit 1;
  if month is null then
    return null;
  end if;
  lock table outbound_messages in share row exclusive mode;
  execute format('alter table message_events detach partition %I', month);
  if is_dropped then
    execute format('drop table %I', month);
    return month;
  end if;
  for foreign_key in select conname from pg_constraint where conrelid = month::regclass and contype = 'f' loop
    execute format('alter table %I drop constraint %I', month, foreign_key);
  end loop;
  kept := month || '_detached_' || to_char(clock_timestamp(), 'YYYYMMDDHH24MISS');
  execute format('alter table %I rename to %I', month, kept);
  return kept;
exception when lock_not_available then
  return null;
end
$$;

revoke all on function event_months(), event_months_standing(integer), place_default_events(integer, integer),
  retire_event_month(integer, boolean) from public;
grant execute on function event_months_standing(integer), place_default_events(integer, integer),
  retire_event_month(integer, boolean) to outreach_worker;
grant delete on webhook_deliveries to outreach_worker;
