-- A campaign's versions of its plan, and who stands where in one.

-- name: list_versions
-- Every version, newest first, with how many enrollments run it and how many of them have not ended.
select p.version, p.hash, p.generated_by::text as generated_by, p.notes, p.created_at,
  p.version = k.plan_version as is_current, coalesce(e.live, 0) as live, coalesce(e.total, 0) as total
from campaigns k
join campaign_plans p on p.tenant_id = k.tenant_id and p.campaign_id = k.id
left join (
  select e.plan_version, count(*) filter (where e.state in ('draft', 'active', 'paused')) as live, count(*) as total
  from enrollments e
  where e.tenant_id = %(tenant_id)s::uuid and e.campaign_id = %(campaign_id)s::uuid
  group by e.plan_version
) e on e.plan_version = p.version
where k.tenant_id = %(tenant_id)s::uuid and k.id = %(campaign_id)s::uuid
order by p.version desc;

-- name: count_standings
-- The live enrollments that run one version, by the node they stand on, with what is open for them. A
-- message on the way is the node's own: it has a row in the ledger, and its step has not ended.
select e.current_node_id as node_id, count(*) as enrollments,
  coalesce(sum(a.sends), 0)::bigint as sends, coalesce(sum(a.on_the_way), 0)::bigint as on_the_way,
  coalesce(sum(a.timers), 0)::bigint as timers
from enrollments e
cross join lateral (
  select count(*) filter (where a.kind = 'send' and a.message_id is null) as sends,
    count(*) filter (where a.kind = 'send' and a.message_id is not null and a.node_id = e.current_node_id) as on_the_way,
    count(*) filter (where a.kind = 'timeout') as timers
  from scheduled_actions a
  where a.tenant_id = %(tenant_id)s::uuid and a.enrollment_id = e.id and a.state in ('pending', 'claimed')
) a
where e.tenant_id = %(tenant_id)s::uuid and e.campaign_id = %(campaign_id)s::uuid
  and e.plan_version = %(version)s::int and e.state in ('draft', 'active', 'paused')
group by e.current_node_id
order by e.current_node_id nulls first;
