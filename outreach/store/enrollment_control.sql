-- A person's acts on enrollments.

-- name: lock_contact_enrollments
-- A contact's enrollments, of all campaigns or of one, locked in id order: a claim or a step that has one
-- is waited for, and the next one passes it over.
select e.id, e.campaign_id, k.name as campaign, e.state::text as state
from enrollments e
join campaigns k on k.tenant_id = e.tenant_id and k.id = e.campaign_id
where e.tenant_id = %(tenant_id)s::uuid and e.contact_id = %(contact_id)s::uuid
  and (%(campaign_id)s::uuid is null or e.campaign_id = %(campaign_id)s::uuid)
order by e.id
for no key update of e

-- name: pause_enrollments
-- The active ones are paused, each with the hold that says who and why. From the commit on nothing of them is
-- armed: a claim reads the state from these rows under a share lock.
with paused as (
  update enrollments e
  set state = 'paused', paused_at = now(), updated_at = now()
  where e.tenant_id = %(tenant_id)s::uuid and e.id = any (%(ids)s::uuid[]) and e.state = 'active'
  returning e.tenant_id, e.id
)
insert into send_holds (tenant_id, scope, subject_id, reason, detail)
select tenant_id, 'enrollment', id, 'enrollment_paused', jsonb_build_object('who', %(actor)s::text, 'reason', %(reason)s::text)
from paused

-- name: resume_enrollments
-- The paused ones go on; a trigger ends their holds.
update enrollments e
set state = 'active', paused_at = null, updated_at = now()
where e.tenant_id = %(tenant_id)s::uuid and e.id = any (%(ids)s::uuid[]) and e.state = 'paused'
