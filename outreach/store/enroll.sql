-- Who comes into a campaign, and the first step of those who have.

-- name: match_contacts
-- The next contacts in id order for whom every condition holds.
select c.id
from contacts c
where c.tenant_id = %(tenant_id)s::uuid and c.id > %(after)s::uuid
  and not exists (
    select from jsonb_to_recordset(%(conditions)s::jsonb) as k (path text[], values text[], is_negated boolean)
    where (coalesce(to_jsonb(c) #>> k.path, '') = any (k.values)) = k.is_negated
  )
order by c.id
limit %(rows_max)s::int;

-- name: find_contacts_by_key
-- The contacts of some addresses.
select c.id
from contacts c
where c.tenant_id = %(tenant_id)s::uuid and c.email_key = any (%(keys)s::text[]);

-- name: enroll_contacts
-- Enroll those who may be, as drafts, and count the rest by reason; `enrolled` counts the new ones.
-- Under the tenant's lock, without which another enroll could take the same contact elsewhere. Each
-- set is read once for the page and then hashed, whatever the planner expects of a new table.
with candidate as materialized (
  select c.id, c.email_domain, c.erased_at, c.address_verdict, c.suppressed_at
  from contacts c
  where c.tenant_id = %(tenant_id)s::uuid and c.id = any (%(contact_ids)s::uuid[])
),
here as materialized (
  select e.contact_id
  from enrollments e
  where e.tenant_id = %(tenant_id)s::uuid and e.campaign_id = %(campaign_id)s::uuid
    and e.contact_id = any (%(contact_ids)s::uuid[])
),
elsewhere as materialized (
  select e.contact_id
  from enrollments e
  join tenants t on t.id = e.tenant_id and t.one_live_enrollment
  where e.tenant_id = %(tenant_id)s::uuid and e.state in ('draft', 'active', 'paused')
    and e.contact_id = any (%(contact_ids)s::uuid[])
),
suppressed_domain as materialized (
  select substr(x.value_key, 2) as domain
  from suppressions x
  where x.tenant_id = %(tenant_id)s::uuid and x.channel = 'email' and x.lifted_at is null
    and x.value_key = any (array(select distinct '@' || lower(email_domain) from candidate))
),
judged as materialized (
  select c.id, case
    when c.id in (select contact_id from here) then 'already_enrolled'
    when c.erased_at is not null then 'contact_erased'
    when c.address_verdict = 'invalid' then 'address_invalid'
    when c.suppressed_at is not null then 'suppressed'
    when lower(c.email_domain) in (select domain from suppressed_domain) then 'suppressed'
    when c.id in (select contact_id from elsewhere) then 'enrolled_elsewhere'
    else 'enrolled' end as verdict
  from candidate c
),
enrolled as (
  insert into enrollments (tenant_id, campaign_id, contact_id, sender_id, plan_version)
  select k.tenant_id, k.id, judged.id, k.sender_id, k.plan_version
  from judged
  join campaigns k on k.tenant_id = %(tenant_id)s::uuid and k.id = %(campaign_id)s::uuid
  where judged.verdict = 'enrolled'
)
select verdict, count(*) as count
from judged
group by verdict;

-- name: list_draft_groups
-- Drafts by what decides their first moment: few groups, however many contacts. Returns the
-- transaction's time, which is the moment of entry.
select e.plan_version, c.timezone, now() as entered_at
from enrollments e
join contacts c on c.tenant_id = e.tenant_id and c.id = e.contact_id
where e.tenant_id = %(tenant_id)s::uuid and e.campaign_id = %(campaign_id)s::uuid and e.state = 'draft'
group by e.plan_version, c.timezone;

-- name: activate_drafts
-- Every draft enters its plan as its group says: position, actions and steps in one statement. Under
-- lock_campaign. Returns how many came to which state. Rows are found again by their place (ctid) and a
-- group's actions unpacked row by row, so that the cost is linear whatever the planner expects of a new
-- table.
with starts as materialized (
  select * from unnest(
    %(plan_versions)s::int[], %(timezones)s::text[], %(states)s::enrollment_state[], %(node_ids)s::text[],
    %(visits)s::jsonb[], %(entered_ats)s::timestamptz[], %(came_bys)s::text[], %(end_reasons)s::text[],
    %(actions)s::jsonb[], %(steps)s::jsonb[]
  ) as s (plan_version, timezone, state, node_id, visits, entered_at, came_by, end_reason, actions, steps)
),
draft as materialized (
  select e.ctid as place, e.plan_version, coalesce(c.timezone, '') as timezone
  from enrollments e
  join contacts c on c.tenant_id = e.tenant_id and c.id = e.contact_id
  where e.tenant_id = %(tenant_id)s::uuid and e.campaign_id = %(campaign_id)s::uuid and e.state = 'draft'
),
entering as materialized (
  select draft.place, s.state, s.node_id, s.visits, s.entered_at, s.came_by, s.end_reason, s.actions, s.steps
  from draft
  join starts s on s.plan_version = draft.plan_version and s.timezone = draft.timezone
),
activated as (
  update enrollments e
  set state = s.state, current_node_id = s.node_id, visits = s.visits, entered_at = s.entered_at, came_by = s.came_by,
    ended_at = case when s.end_reason is not null then now() end, end_reason = s.end_reason, updated_at = now()
  from entering s
  where e.tenant_id = %(tenant_id)s::uuid and e.ctid = s.place and e.state = 'draft'
  returning e.tenant_id, e.id, e.campaign_id, e.sender_id, e.state, s.actions, s.steps
),
action as (
  insert into scheduled_actions
    (tenant_id, enrollment_id, campaign_id, sender_id, node_id, visit, kind, trigger, due_at, held_by)
  select e.tenant_id, e.id, e.campaign_id, coalesce(a.sender_id, e.sender_id), a.node_id, a.visit, a.kind, a.trigger,
    a.due_at, %(held_by)s::text
  from activated e
  cross join lateral jsonb_to_recordset(e.actions)
    as a (kind action_kind, node_id text, visit int, trigger text, due_at timestamptz, sender_id uuid)
),
step as (
  insert into campaign_transitions
    (tenant_id, enrollment_id, from_node_id, to_node_id, visit, trigger, code, reason, occurred_at)
  select e.tenant_id, e.id, t.from_node_id, t.to_node_id, t.visit, t.trigger, t.code, t.reason, t.at
  from activated e
  cross join lateral jsonb_to_recordset(e.steps)
    as t (from_node_id text, to_node_id text, visit int, trigger text, code text, reason text, at timestamptz)
)
select state::text as state, count(*) as count
from activated
group by state;

-- name: forget_plans
-- A session keeps the plans of its foreign key checks, and one made while a table was small reads all
-- of a tenant's rows for each check. Called before many rows come in.
discard plans;

-- name: lower_floors
-- What this transaction has dated is not below a floor: those that were raised past its beginning come
-- down to it, and nobody raises them before it ends. Locks all of them, in the order of their keys, and
-- decides from what it then holds.
with held as (
  select f.sender_id, f.priority, f.due_at from lane_floors f
  where f.tenant_id = %(tenant_id)s::uuid
  order by f.sender_id, f.priority
  for no key update
)
update lane_floors f
set due_at = now(), action_id = '00000000-0000-0000-0000-000000000000', updated_at = now()
from held h
where f.tenant_id = %(tenant_id)s::uuid and f.sender_id = h.sender_id and f.priority = h.priority and h.due_at > now();

-- name: unpark_tenant
-- New work may be due before the moment that the sweep was told to wait for.
update tenants
set parked_until = null, updated_at = now()
where id = %(tenant_id)s::uuid and parked_until is not null;
