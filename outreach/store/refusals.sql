-- name: list_waiting_for_values
-- Sends that a missing value holds, with the moment since when; the oldest first, bounded.
select a.id as action_id, a.enrollment_id, first.created_at as since
from send_refusals r
join scheduled_actions a on a.tenant_id = r.tenant_id and a.id = r.action_id and a.state = 'pending'
cross join lateral (
  select min(f.created_at) as created_at from send_refusals f
  where f.tenant_id = r.tenant_id and f.action_id = r.action_id and f.reason = 'value_missing'
) first
where r.tenant_id = %(tenant_id)s::uuid and r.reason = 'value_missing' and r.created_at < now() - interval '1 minute'
order by r.created_at
limit %(rows_max)s::int;
