-- Timers: timeouts of the timetable that come due.

-- name: is_running
-- Whether neither the tenant nor the installation is paused.
select t.state = 'active' and i.state = 'active'
from tenants t
cross join installation i
where t.id = %(tenant_id)s::uuid

-- name: list_due_timers
-- What is due, oldest first, from the tenant's floor on, and only where we have listened to all that came in before its moment or that has
-- waited for long: a person may have acted in it. Locks nothing: an enrollment is locked before its actions are.
with unheard as (
  select least(
    (select min(received_at) from webhook_deliveries where state = 'received'),
    (select min(received_at) from inbound_messages where state = 'received')
  ) as since
)
select a.id, a.enrollment_id
from scheduled_actions a
cross join unheard u
where a.tenant_id = %(tenant_id)s::uuid
  and a.state = 'pending' and a.kind = 'timeout' and a.held_by is null and a.due_at <= now()
  and (
    u.since is null
    or u.since > a.due_at and u.since > now() - make_interval(secs => %(unheard_seconds)s::double precision)
  )
  and a.due_at >= coalesce((select f.timer_at from tenant_floors f where f.tenant_id = %(tenant_id)s::uuid), '-infinity')
order by a.due_at
limit %(rows_max)s::int

-- name: list_timers
-- Which of these are still due, now that nobody else can move their enrollments; the earliest of each.
select distinct on (a.enrollment_id) a.id, a.enrollment_id, a.node_id, a.visit, a.trigger, a.due_at
from scheduled_actions a
where a.tenant_id = %(tenant_id)s::uuid and a.id = any(%(ids)s::uuid[])
  and a.enrollment_id = any(%(enrollment_ids)s::uuid[]) and a.state = 'pending' and a.held_by is null
order by a.enrollment_id, a.due_at, a.id

-- name: share_paused_campaigns
-- Which of these campaigns are paused, and stay so until this transaction ends. One that is being paused
-- or resumed at this moment is left out.
select k.id
from campaigns k
where k.tenant_id = %(tenant_id)s::uuid and k.id = any(%(ids)s::uuid[]) and k.state = 'paused'
order by k.id
for share skip locked

-- name: park_timers
-- Takes timers out of what comes due, until the pause that holds them ends.
update scheduled_actions a
set held_by = p.held_by, updated_at = now()
from unnest(%(ids)s::uuid[], %(held_bys)s::text[]) as p (id, held_by)
where a.tenant_id = %(tenant_id)s::uuid and a.id = p.id and a.state = 'pending'

-- name: close_timers
-- These have fired, or will never.
update scheduled_actions a
set state = c.state, updated_at = now()
from unnest(%(ids)s::uuid[], %(states)s::action_state[]) as c (id, state)
where a.tenant_id = %(tenant_id)s::uuid and a.id = c.id and a.state = 'pending'
