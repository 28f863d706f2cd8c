-- How long events and bodies stay, and where events lie.

-- name: place_default_events
-- Brings one month's rows out of the default partition into their own; how many. Locks that partition and the messages.
select place_default_events(%(rows_max)s::int, %(months_ahead)s::int);

-- name: retire_event_month
-- Takes out the oldest month that ended so many months ago; its name. Locks the events for that moment.
select retire_event_month(%(keep_months)s::int, %(is_dropped)s::boolean);

-- name: read_standing
-- Rows outside their month, counted up to a bound, and whether next month has its partition.
select out_of_place, is_next_made from event_months_standing(%(rows_max)s::int);

-- name: delete_deliveries
-- Deletes the oldest bodies that were applied, or quarantined, so many days ago. Locks them, skipping what others hold.
with old as (
  select d.id
  from webhook_deliveries d
  where d.received_at < now() - make_interval(days => least(%(applied_days)s::int, %(quarantined_days)s::int))
    and (
      d.state = 'applied' and d.received_at < now() - make_interval(days => %(applied_days)s::int)
      or d.state = 'quarantined' and d.received_at < now() - make_interval(days => %(quarantined_days)s::int)
    )
  order by d.received_at
  limit %(rows_max)s::int
  for update skip locked
)
delete from webhook_deliveries d using old where d.id = old.id;
