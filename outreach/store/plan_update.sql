-- A campaign's live enrollments go over to a new version of its plan. Under the tenant's lock, and with
-- the enrollments and the campaign's row held.

-- name: lock_running_enrollments
-- The live enrollments that run the version, locked in id order; how many. None of them takes a step
-- before the transaction ends, and claims pass them over.
select count(*) from (
  select e.id from enrollments e
  where e.tenant_id = %(tenant_id)s::uuid and e.campaign_id = %(campaign_id)s::uuid
    and e.plan_version = %(version)s::int and e.state in ('draft', 'active', 'paused')
  order by e.id
  for no key update
) held;

-- name: insert_version
-- The campaign's next version, which runs from now on.
with made as (
  insert into campaign_plans (tenant_id, campaign_id, version, plan, hash, notes)
  select %(tenant_id)s::uuid, %(campaign_id)s::uuid, max(p.version) + 1, %(plan)s::jsonb, %(hash)s::text, %(notes)s::text
  from campaign_plans p
  where p.tenant_id = %(tenant_id)s::uuid and p.campaign_id = %(campaign_id)s::uuid
  returning version
)
update campaigns k
set plan_version = made.version, updated_at = now()
from made
where k.tenant_id = %(tenant_id)s::uuid and k.id = %(campaign_id)s::uuid
returning made.version;

-- name: map_enrollments
-- Who stands on a vanished node stands on its target, at a visit of its own, as it stood before: what was
-- sent there counts as sent here. What is pending goes with it. Returns how many.
with moved as (
  update enrollments e
  set current_node_id = m.target,
    visits = e.visits || jsonb_build_object(m.target, coalesce((e.visits ->> m.target)::int, 0) + 1),
    message_node_id = case when e.message_node_id = m.source then m.target else e.message_node_id end,
    updated_at = now()
  from unnest(%(sources)s::text[], %(targets)s::text[]) as m (source, target)
  where e.tenant_id = %(tenant_id)s::uuid and e.campaign_id = %(campaign_id)s::uuid
    and e.plan_version = %(version)s::int and e.state in ('active', 'paused') and e.current_node_id = m.source
  returning e.tenant_id, e.id, m.source, m.target, (e.visits ->> m.target)::int as visit
),
action as (
  update scheduled_actions a
  set node_id = moved.target, visit = moved.visit, updated_at = now()
  from moved
  where a.tenant_id = %(tenant_id)s::uuid and a.enrollment_id = moved.id and a.state = 'pending'
),
step as (
  insert into campaign_transitions (tenant_id, enrollment_id, from_node_id, to_node_id, visit, code, detail, occurred_at)
  select tenant_id, id, source, target, visit, 'plan_updated', jsonb_build_object('who', %(actor)s::text), now() from moved
)
select count(*) from moved;

-- name: stop_enrollments_of_nodes
-- Who stands on these nodes ends as stopped, with who did it; what is pending is canceled. Returns how many.
with stopped as (
  update enrollments e
  set state = 'stopped', ended_at = now(), end_reason = 'node_removed', paused_at = null, previous = null, updated_at = now()
  where e.tenant_id = %(tenant_id)s::uuid and e.campaign_id = %(campaign_id)s::uuid
    and e.plan_version = %(version)s::int and e.state in ('active', 'paused') and e.current_node_id = any (%(node_ids)s::text[])
  returning e.tenant_id, e.id, e.current_node_id, e.visits
),
action as (
  update scheduled_actions a
  set state = 'canceled', held_by = null, updated_at = now()
  from stopped
  where a.tenant_id = %(tenant_id)s::uuid and a.enrollment_id = stopped.id and a.state = 'pending'
),
step as (
  insert into campaign_transitions (tenant_id, enrollment_id, from_node_id, visit, code, reason, detail, occurred_at)
  select tenant_id, id, current_node_id, (visits ->> current_node_id)::int, 'stopped', 'node_removed',
    jsonb_build_object('who', %(actor)s::text), now()
  from stopped
)
select count(*) from stopped;

-- name: carry_over_enrollments
-- Everybody who is live goes over to the new version. A step that led here from a vanished node cannot
-- be taken back any more. Returns how many.
update enrollments e
set plan_version = %(new_version)s::int, updated_at = now(),
  previous = case when e.previous ->> 'node_id' = any (%(vanished)s::text[]) then null else e.previous end
where e.tenant_id = %(tenant_id)s::uuid and e.campaign_id = %(campaign_id)s::uuid
  and e.plan_version = %(version)s::int and e.state in ('draft', 'active', 'paused');

-- name: set_senders
-- Pending sends that are not in the ledger go out by the sender that their node names, else by the
-- enrollment's. None becomes due in the past, where the floor of its new lane may be.
update scheduled_actions a
set sender_id = coalesce(n.sender_id, e.sender_id), due_at = greatest(a.due_at, now()), updated_at = now()
from enrollments e
join unnest(%(node_ids)s::text[], %(sender_ids)s::uuid[]) as n (node_id, sender_id) on n.node_id = e.current_node_id
where e.tenant_id = %(tenant_id)s::uuid and e.campaign_id = %(campaign_id)s::uuid
  and e.plan_version = %(version)s::int and e.state in ('active', 'paused')
  and a.tenant_id = %(tenant_id)s::uuid and a.enrollment_id = e.id and a.state = 'pending' and a.kind = 'send'
  and a.message_id is null and a.sender_id <> coalesce(n.sender_id, e.sender_id);

-- name: list_standing_on
-- The next of those who stand on some nodes, in id order.
select e.id
from enrollments e
where e.tenant_id = %(tenant_id)s::uuid and e.campaign_id = %(campaign_id)s::uuid and e.id > %(after)s::uuid
  and e.plan_version = %(version)s::int and e.state in ('active', 'paused') and e.current_node_id = any (%(node_ids)s::text[])
order by e.id
limit %(rows_max)s::int;

-- name: cancel_timers
-- Takes back the pending timers of these enrollments, for others to take their place.
update scheduled_actions a
set state = 'canceled', held_by = null, updated_at = now()
where a.tenant_id = %(tenant_id)s::uuid and a.enrollment_id = any (%(enrollment_ids)s::uuid[])
  and a.state = 'pending' and a.kind = 'timeout';
