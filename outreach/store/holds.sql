-- name: insert_refusals
-- Write down noes, each only where it says something new: the same hold for the same reason is one row.
insert into send_refusals (tenant_id, enrollment_id, action_id, verdict, reason, detail, until)
select %(tenant_id)s::uuid, n.enrollment_id, n.action_id, n.verdict, n.reason, n.detail, n.until
from unnest(
  %(enrollment_ids)s::uuid[], %(action_ids)s::uuid[], %(verdicts)s::text[], %(reasons)s::text[], %(details)s::jsonb[],
  %(untils)s::timestamptz[]
) as n (enrollment_id, action_id, verdict, reason, detail, until)
left join lateral (
  select r.verdict, r.reason from send_refusals r
  where r.tenant_id = %(tenant_id)s::uuid and r.action_id = n.action_id
  order by r.created_at desc, r.id desc limit 1
) latest on true
where (n.verdict, n.reason) is distinct from (latest.verdict, latest.reason);

-- name: postpone_actions
-- Held actions: due again at a moment, or out of the claim's reach until a person's act. Only what is
-- still pending; the claim holds their locks.
update scheduled_actions a
set due_at = coalesce(n.due_at, a.due_at), held_by = n.held_by, updated_at = now()
from unnest(%(action_ids)s::uuid[], %(due_ats)s::timestamptz[], %(held_bys)s::text[]) as n (action_id, due_at, held_by)
where a.tenant_id = %(tenant_id)s::uuid and a.id = n.action_id and a.state = 'pending';

-- name: cancel_actions
-- Actions whose enrollment has moved on or ended. A message that waited for another try at such a step
-- fails: nobody will look at it again. The enrollments are locked, shared or not.
with canceled as (
  update scheduled_actions a
  set state = 'canceled', held_by = null, updated_at = now()
  where a.tenant_id = %(tenant_id)s::uuid and a.id = any (%(action_ids)s::uuid[]) and a.state = 'pending'
  returning a.message_id
)
update outbound_messages m
set state = 'failed', failure_code = 'enrollment_ended', wake_at = null, updated_at = now()
from canceled
where m.tenant_id = %(tenant_id)s::uuid and m.id = canceled.message_id and m.state = 'waiting_retry';

-- name: open_holds
-- A hold of a whole set, stored once while it lasts; a later moment replaces the earlier one.
insert into send_holds as h (tenant_id, scope, subject_id, reason, detail, until)
select %(tenant_id)s::uuid, n.scope, n.subject_id, n.reason, n.detail, n.until
from unnest(
  %(scopes)s::text[], %(subject_ids)s::uuid[], %(reasons)s::text[], %(details)s::jsonb[], %(untils)s::timestamptz[]
) as n (scope, subject_id, reason, detail, until)
on conflict (tenant_id, scope, subject_id, reason) where ended_at is null
do update set until = excluded.until, updated_at = now()
where h.until is distinct from excluded.until;

-- name: end_limit_holds
-- The limits of these sets grant again.
update send_holds h
set ended_at = now(), updated_at = now()
from unnest(%(scopes)s::text[], %(subject_ids)s::uuid[]) as n (scope, subject_id)
where h.tenant_id = %(tenant_id)s::uuid and h.scope = n.scope and h.subject_id = n.subject_id
  and h.ended_at is null and (h.reason like 'limit%%' or h.reason in ('provider_later', 'data_loss_hold', 'reputation_slowed'));

-- name: park_tenant
-- A hint for the sweep: nothing of this tenant that is due now can be claimed before `until`.
update tenants set parked_until = %(until)s::timestamptz, parked_at = now(), updated_at = now()
where id = %(tenant_id)s::uuid;
