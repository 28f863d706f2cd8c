-- The record of people's acts.

-- name: insert_act
-- One act; rows are only ever added.
insert into audit_log (tenant_id, actor, act, subject, reason, detail)
values (%(tenant_id)s::uuid, %(actor)s::text, %(act)s::text, %(subject)s::text, %(reason)s::text, %(detail)s::jsonb)
