-- Campaigns: their making, their state, and how far they are.

-- name: find_sender_by_email
-- The sender of an address.
select s.id, s.from_email as email, s.state::text as state
from sender_identities s
where s.tenant_id = %(tenant_id)s::uuid and lower(s.from_email) = lower(%(email)s::text);

-- name: list_senders
-- The senders of some ids; one that is missing is not this tenant's.
select s.id, s.from_email as email, s.state::text as state
from sender_identities s
where s.tenant_id = %(tenant_id)s::uuid and s.id = any (%(ids)s::uuid[]);

-- name: insert_campaign
-- A draft with version 1 of its plan; no row when the name is taken.
with campaign as (
  insert into campaigns (tenant_id, id, name, sender_id, unknown_policy)
  values (%(tenant_id)s::uuid, %(id)s::uuid, %(name)s::text, %(sender_id)s::uuid, %(unknown_policy)s::unknown_policy)
  on conflict (tenant_id, name) do nothing
  returning tenant_id, id, plan_version
)
insert into campaign_plans (tenant_id, campaign_id, version, plan, hash)
select tenant_id, id, plan_version, %(plan)s::jsonb, %(hash)s::text
from campaign
returning campaign_id;

-- name: find_campaign_id
-- The campaign that is called so, else the one of that id.
select c.id
from campaigns c
where c.tenant_id = %(tenant_id)s::uuid
  and (c.name = %(name)s::text or c.id = %(id)s::uuid)
order by c.name = %(name)s::text desc
limit 1;

-- name: lock_campaign
-- The campaign, locked to the transaction's end: nobody launches, completes or claims for it meanwhile.
select c.id, c.name, c.state::text as state, c.paused_at, c.plan_version, c.sender_id, t.postal_address
from campaigns c
join tenants t on t.id = c.tenant_id
where c.tenant_id = %(tenant_id)s::uuid and c.id = %(id)s::uuid
for no key update of c;

-- name: set_campaign_launched
-- A draft becomes active; so does a completed campaign that has somebody again. The caller holds its lock.
update campaigns
set state = 'active', launched_at = coalesce(launched_at, now()), ended_at = null, end_reason = null,
  updated_at = now()
where tenant_id = %(tenant_id)s::uuid and id = %(id)s::uuid and state in ('draft', 'completed');

-- name: set_campaign_completed_if_ended
-- An active campaign whose enrollments, of which there are some, have all ended is complete.
update campaigns c
set state = 'completed', ended_at = now(), end_reason = 'completed', updated_at = now()
where c.tenant_id = %(tenant_id)s::uuid and c.id = %(id)s::uuid and c.state = 'active'
  and exists (select from enrollments e where e.tenant_id = c.tenant_id and e.campaign_id = c.id)
  and not exists (
    select from enrollments e
    where e.tenant_id = c.tenant_id and e.campaign_id = c.id and e.state in ('draft', 'active', 'paused')
  );

-- name: set_campaign_paused_if_active
-- From its commit on nothing is armed: a claim reads the state from this row under a share lock.
with campaign as (
  update campaigns
  set state = 'paused', paused_at = now(), paused_by = %(actor)s::text, pause_reason = %(reason)s::text,
    updated_at = now()
  where tenant_id = %(tenant_id)s::uuid and id = %(id)s::uuid and state = 'active'
  returning tenant_id, id, name
),
hold as (
  insert into send_holds (tenant_id, scope, subject_id, reason, detail)
  select tenant_id, 'campaign', id, 'campaign_paused',
    jsonb_strip_nulls(jsonb_build_object('campaign', name, 'who', %(actor)s::text, 'reason', %(reason)s::text))
  from campaign
  on conflict (tenant_id, scope, subject_id, reason) where ended_at is null do nothing
)
select count(*) from campaign;

-- name: set_campaign_resumed_if_paused
-- A paused campaign runs again; a trigger ends its hold.
update campaigns
set state = 'active', paused_at = null, paused_by = null, pause_reason = null, updated_at = now()
where tenant_id = %(tenant_id)s::uuid and id = %(id)s::uuid and state = 'paused';

-- name: set_campaign_stopped_if_unstopped
-- The last state of a campaign; a trigger ends its pause's hold. From its commit on nothing is armed.
update campaigns
set state = 'stopped', ended_at = now(), end_reason = coalesce(%(reason)s::text, 'campaign_ended'),
  paused_at = null, paused_by = null, pause_reason = null, updated_at = now()
where tenant_id = %(tenant_id)s::uuid and id = %(id)s::uuid and state <> 'stopped';

-- name: lock_live_enrollments
-- Some of the campaign's enrollments that have not ended, locked in id order.
select e.id
from enrollments e
where e.tenant_id = %(tenant_id)s::uuid and e.campaign_id = %(id)s::uuid
  and e.state in ('draft', 'active', 'paused')
order by e.id
limit %(rows_max)s::int
for no key update;

-- name: stop_enrollments
-- The locked enrollments end as stopped, each with the step that says who did it, and why.
with stopped as (
  update enrollments e
  set state = 'stopped', ended_at = now(), end_reason = %(end_reason)s::text, paused_at = null, previous = null,
    updated_at = now()
  where e.tenant_id = %(tenant_id)s::uuid and e.id = any (%(enrollment_ids)s::uuid[])
    and e.state in ('draft', 'active', 'paused')
  returning e.tenant_id, e.id, e.current_node_id, e.visits
),
step as (
  insert into campaign_transitions (tenant_id, enrollment_id, from_node_id, visit, code, reason, detail, occurred_at)
  select tenant_id, id, current_node_id, coalesce((visits ->> current_node_id)::int, 0), 'stopped', %(end_reason)s::text,
    jsonb_strip_nulls(jsonb_build_object('who', %(actor)s::text, 'note', %(note)s::text)), now()
  from stopped
)
select count(*) from stopped;

-- name: get_campaign_state
-- The campaign's own row.
select c.id, c.name, c.state::text as state, c.plan_version
from campaigns c
where c.tenant_id = %(tenant_id)s::uuid and c.id = %(id)s::uuid;

-- name: count_enrollments
-- How many contacts stand where.
select e.state::text as state, count(*) as count
from enrollments e
where e.tenant_id = %(tenant_id)s::uuid and e.campaign_id = %(id)s::uuid
group by e.state;

-- name: count_messages
-- How many mails are in which state, and what became of them. By array, because a join with a table
-- that has no statistics yet may read all of the tenant's rows for each enrollment.
select m.state::text as state, m.delivery::text as delivery, count(*) as count
from outbound_messages m
where m.tenant_id = %(tenant_id)s::uuid and m.enrollment_id = any (array(
  select e.id from enrollments e where e.tenant_id = %(tenant_id)s::uuid and e.campaign_id = %(id)s::uuid
))
group by m.state, m.delivery;

-- name: count_actions
-- What the timetable holds: how much, how much of it by now, and when the next of it is. By array, as above.
select count(*) filter (where a.due_at <= now()) as due, count(*) as pending, min(a.due_at) as next_due_at
from scheduled_actions a
where a.tenant_id = %(tenant_id)s::uuid and a.state = 'pending' and a.enrollment_id = any (array(
  select e.id from enrollments e where e.tenant_id = %(tenant_id)s::uuid and e.campaign_id = %(id)s::uuid
));
