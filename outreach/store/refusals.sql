-- name: list_tenants_waiting_for_values
-- Tenants of whom some send has been held by a missing value.
select tenant_id from tenants_missing_values();

-- name: list_waiting_for_values
-- Sends that a missing value holds, with the moment since when; those that have waited longest first,
-- bounded. Only where that is the latest no and nobody's pause holds the send too. A plan's patience is
-- taken a day short here, because its days are those of a calendar: the caller decides.
select a.id as action_id, a.enrollment_id, first.created_at as since
from (
  select r.action_id, min(r.created_at) as created_at
  from send_refusals r
  where r.tenant_id = %(tenant_id)s::uuid and r.reason = 'value_missing'
  group by r.action_id
) first
join scheduled_actions a on a.tenant_id = %(tenant_id)s::uuid and a.id = first.action_id
  and a.state = 'pending' and a.held_by is null
join enrollments e on e.tenant_id = a.tenant_id and e.id = a.enrollment_id and e.state = 'active'
join campaigns c on c.tenant_id = e.tenant_id and c.id = e.campaign_id and c.state = 'active'
join campaign_plans p on p.tenant_id = e.tenant_id and p.campaign_id = e.campaign_id and p.version = e.plan_version
cross join lateral (
  select r.reason from send_refusals r
  where r.tenant_id = a.tenant_id and r.action_id = a.id
  order by r.created_at desc, r.id desc limit 1
) latest
where latest.reason = 'value_missing'
  and first.created_at + (p.plan ->> 'idle_after')::interval - interval '1 day' <= now()
order by first.created_at
limit %(rows_max)s::int;
