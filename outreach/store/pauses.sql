-- The end of a pause of a tenant or of the installation.

-- name: end_pause
-- The hold of that scope is over.
update send_holds
set ended_at = now(), updated_at = now()
where tenant_id = %(tenant_id)s::uuid and scope = %(scope)s::text and reason = %(reason)s::text and ended_at is null

-- name: release_actions
-- Puts back what was held for the scope. What is overdue comes due in its old order, spread evenly: a
-- hundred a second, over five minutes at most. Locks the actions, in id order.
with held as (
  select a.id, a.due_at
  from scheduled_actions a
  where a.tenant_id = %(tenant_id)s::uuid and a.held_by = %(held_by)s::text
  order by a.id
  for no key update
), overdue as (
  select h.id, row_number() over (order by h.due_at, h.id) - 1 as place, count(*) over () as total
  from held h
  where h.due_at <= now()
), put_back as (
  select h.id,
    coalesce(now() + o.place * least(interval '10 milliseconds', interval '5 minutes' / o.total), h.due_at) as due_at
  from held h
  left join overdue o on o.id = h.id
)
update scheduled_actions a
set held_by = null, due_at = p.due_at, updated_at = now()
from put_back p
where a.tenant_id = %(tenant_id)s::uuid and a.id = p.id
