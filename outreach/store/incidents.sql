-- Alarms for people: what must not happen and did.

-- name: raise_incidents
-- Each once for its subject; one that was closed is open again. In one order, so that two that raise the
-- same do not wait for each other in turn.
insert into incidents (tenant_id, code, subject, detail)
select %(tenant_id)s::uuid, i.code, i.subject, i.detail
from unnest(%(codes)s::text[], %(subjects)s::text[], %(details)s::jsonb[]) as i (code, subject, detail)
order by i.code, i.subject
on conflict (tenant_id, code, subject) do update set closed_at = null, updated_at = now();

-- name: raise_account_incident
-- One for each tenant with a campaign that is not over; one that was closed is open again.
select raise_account_incident(%(code)s::text, %(subject)s::text, %(detail)s::jsonb);

-- name: list_incidents
-- Over all tenants or of one, the newest first. As the operator.
select id, tenant, code, subject, detail, raised_at, told_at, closed_at
from incidents_of(%(tenant)s::text, %(with_closed)s::boolean, %(rows_max)s::int);

-- name: find_tenant_of_incident
-- Whose it is. As the operator.
select incident_tenant(%(incident_id)s::uuid);

-- name: close_incident
-- Nothing is changed where it is closed already.
update incidents
set closed_at = now(), updated_at = now()
where tenant_id = %(tenant_id)s::uuid and id = %(incident_id)s::uuid and closed_at is null
returning code, subject;

-- name: close_incidents
-- The alarms about one subject are over.
update incidents
set closed_at = now(), updated_at = now()
where tenant_id = %(tenant_id)s::uuid and subject = %(subject)s::text and closed_at is null
  and code = any (%(codes)s::text[]);
