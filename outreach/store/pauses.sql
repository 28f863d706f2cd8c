-- The end of a pause: its hold, and the actions that it kept back.

-- name: end_holds
-- The holds of a scope for these reasons are over; they stay as history.
update send_holds
set ended_at = now(), updated_at = now()
where tenant_id = %(tenant_id)s::uuid and scope = %(scope)s::text and subject_id = %(subject_id)s::uuid
  and reason = any (%(reasons)s::text[]) and ended_at is null

-- name: lock_held_actions
-- Waits for whoever has an action that the campaign's pause took out, in id order; how many there are. Before
-- the campaign's row, as those who complete a campaign have it.
select count(*)
from (
  select from scheduled_actions a
  where a.tenant_id = %(tenant_id)s::uuid and a.held_by = 'campaign' and a.campaign_id = %(campaign_id)s::uuid
  order by a.id
  for no key update
) held

-- name: release_campaign_actions
-- Puts back what a campaign's pause took out, and takes up what came due since `unmet_since` with nobody there
-- to take it out. What is overdue keeps its order and comes due as its sender may send it: a minute's worth
-- each minute, `pace` a second at most. Under the campaign's lock, since who parks a timer shares that and then
-- takes the timer, and after lock_held_actions: so it waits for nobody. What somebody has in hand it leaves.
with parked as (
  select a.id, a.sender_id, a.due_at
  from scheduled_actions a
  where a.tenant_id = %(tenant_id)s::uuid and a.held_by = 'campaign' and a.campaign_id = %(campaign_id)s::uuid
  order by a.id
  for no key update skip locked
), unmet as (
  select a.id, a.sender_id, a.due_at
  from scheduled_actions a
  where a.tenant_id = %(tenant_id)s::uuid and a.campaign_id = %(campaign_id)s::uuid
    and a.state = 'pending' and a.held_by is null
    and (a.kind = 'send' and a.priority >= 0 and a.due_at <= now() or a.kind = 'timeout' and a.due_at <= now())
    and a.due_at >= %(unmet_since)s::timestamptz
  order by a.id
  for no key update skip locked
), held as materialized (
  select * from parked union all select * from unmet
), sender as (
  select s.id, greatest(cap_in_force(own.per_minute_max, own.is_off, general.per_minute_max, general.is_off,
    %(minute_default)s::int), 1) as minute_cap
  from sender_identities s
  left join send_rate_limits own on own.tenant_id = s.tenant_id and own.scope = 'sender' and own.key = s.id::text
  left join send_rate_limits general on general.tenant_id = s.tenant_id and general.scope = 'sender' and general.key = ''
  where s.tenant_id = %(tenant_id)s::uuid
), overdue as (
  select h.id, h.sender_id, row_number() over (partition by h.sender_id order by h.due_at, h.id) - 1 as place
  from held h
  where h.due_at <= now()
), paced as (
  select o.id, now() + greatest(
    o.place * interval '1 second' / %(pace)s::int, o.place / s.minute_cap * interval '1 minute') as due_at
  from overdue o
  join sender s on s.id = o.sender_id
)
update scheduled_actions a
set held_by = null, due_at = coalesce(p.due_at, h.due_at), updated_at = now()
from held h
left join paced p on p.id = h.id
where a.tenant_id = %(tenant_id)s::uuid and a.id = h.id

-- name: release_enrollment_actions
-- Puts back what the pause of these enrollments took out; what is overdue is due now, since nobody looks for
-- what is new among the old. Under their locks.
update scheduled_actions a
set held_by = null, due_at = greatest(a.due_at, now()), updated_at = now()
where a.tenant_id = %(tenant_id)s::uuid and a.enrollment_id = any (%(enrollment_ids)s::uuid[])
  and a.state = 'pending' and a.held_by = 'enrollment'
