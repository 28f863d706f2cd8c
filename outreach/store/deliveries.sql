-- Raw webhook bodies on their way to being applied.

-- name: claim_deliveries
-- The oldest bodies not applied yet, as many as are within both bounds and at least one. Locks rows,
-- skips those that another applier holds.
with head as materialized (
  select d.id, d.received_at, octet_length(d.payload) as bytes
  from webhook_deliveries d
  where d.state = 'received'
  order by d.received_at, d.id
  limit %(rows_max)s::int
  for update skip locked
), running as (
  select h.id, h.received_at, sum(h.bytes) over (order by h.received_at, h.id) - h.bytes as bytes_before
  from head h
)
select d.id, d.provider, d.payload, d.received_at
from running r
join webhook_deliveries d on d.id = r.id
where r.bytes_before < %(bytes_max)s::bigint
order by r.received_at, r.id

-- name: list_deliveries
-- A page of the bodies received in a period, oldest first, after a given one. Locks them in that order,
-- so that a replay and an applier do not both hold what the other needs.
select d.id, d.provider, d.payload, d.received_at
from webhook_deliveries d
where d.received_at >= %(since)s::timestamptz and d.received_at < %(until)s::timestamptz
  and (d.received_at, d.id) > (%(after_at)s::timestamptz, %(after_id)s::uuid)
order by d.received_at, d.id
limit %(rows_max)s::int
for update

-- name: close_deliveries
-- Says what became of each body. What is said already is not said again.
update webhook_deliveries d
set state = c.state, problem = c.problem, events_count = c.events_count, updated_at = now(),
  applied_at = coalesce(d.applied_at, now())
from unnest(%(ids)s::uuid[], %(states)s::webhook_state[], %(problems)s::text[], %(counts)s::int[])
  as c (id, state, problem, events_count)
where d.id = c.id
  and (d.state, d.problem, d.events_count) is distinct from (c.state, c.problem, c.events_count)
