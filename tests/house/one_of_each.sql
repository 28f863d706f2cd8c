-- One row in every table of a tenant, for the tests of who may see it. Written as the owner.

-- name: insert_one_of_each
with tenant as (
  insert into tenants (id, slug, name) values (%(tenant_id)s::uuid, %(slug)s::text, 'One') returning id
), ids as (
  select id as tenant_id, new_id() as lead, new_id() as contact, new_id() as sender, new_id() as campaign,
    new_id() as enrollment, new_id() as action, new_id() as message
  from tenant
), lead as (
  insert into leads (tenant_id, id, key, name) select tenant_id, lead, 'acme.test', 'Acme' from ids
), contact as (
  insert into contacts (tenant_id, id, lead_id, email) select tenant_id, contact, lead, 'ann@acme.test' from ids
), suppression as (
  insert into suppressions (tenant_id, value, reason) select tenant_id, '@bad.test', 'manual' from ids
), sender as (
  insert into sender_identities (tenant_id, id, from_email, from_name)
  select tenant_id, sender, 'sam@one.test', 'Sam' from ids
), ip_pool as (
  insert into ip_pools (tenant_id, name) select tenant_id, 'main' from ids
), outcome as (
  insert into sender_outcomes (tenant_id, sender_id, hour_at) select tenant_id, sender, now() from ids
), lane_floor as (
  insert into lane_floors (tenant_id, sender_id, priority, due_at, action_id)
  select tenant_id, sender, 1, now(), action from ids
), tenant_floor as (
  insert into tenant_floors (tenant_id, send_at, timer_at) select tenant_id, now(), now() from ids
), campaign as (
  insert into campaigns (tenant_id, id, name, sender_id) select tenant_id, campaign, 'First', sender from ids
), plan as (
  insert into campaign_plans (tenant_id, campaign_id, version, plan, hash)
  select tenant_id, campaign, 1, '{}', '' from ids
), enrollment as (
  insert into enrollments (tenant_id, id, campaign_id, contact_id, sender_id, plan_version)
  select tenant_id, enrollment, campaign, contact, sender, 1 from ids
), step as (
  insert into campaign_transitions (tenant_id, enrollment_id, visit, code, occurred_at)
  select tenant_id, enrollment, 1, 'entered', now() from ids
), action as (
  insert into scheduled_actions (tenant_id, id, enrollment_id, campaign_id, sender_id, node_id, visit, kind, due_at)
  select tenant_id, action, enrollment, campaign, sender, 'intro', 1, 'send', now() from ids
), message as (
  insert into outbound_messages (tenant_id, id, enrollment_id, campaign_id, contact_id, sender_id, action_id, node_id,
    visit, dedupe_key, to_address, to_domain, from_address, from_name, subject, body_text, body_html, wake_at)
  select tenant_id, message, enrollment, campaign, contact, sender, action, 'intro',
    1, 'key', 'ann@acme.test', 'acme.test', 'sam@one.test', 'Sam', 'Hi', 'Hi', 'Hi', now() from ids
), attempt as (
  insert into send_attempts (tenant_id, message_id, attempt, armed_at, deadline_at)
  select tenant_id, message, 1, now(), now() from ids
), evidence as (
  insert into outcome_evidence (tenant_id, message_id, attempt, source, says)
  select tenant_id, message, 1, 'event', 'accepted' from ids
), rate_limit as (
  insert into send_rate_limits (tenant_id, scope) select tenant_id, 'tenant' from ids
), counter as (
  insert into rate_limit_counters (tenant_id, scope, key, window_seconds, bucket_at, bucket_used)
  select tenant_id, 'tenant', '', 60, '{}', '{}' from ids
), refusal as (
  insert into send_refusals (tenant_id, enrollment_id, action_id, verdict, reason)
  select tenant_id, enrollment, action, 'hold', 'outside_hours' from ids
), hold as (
  insert into send_holds (tenant_id, scope, subject_id, reason) select tenant_id, 'tenant', tenant_id, 'tenant_paused' from ids
), incident as (
  insert into incidents (tenant_id, code, subject) select tenant_id, 'unknown', 'ann@acme.test' from ids
), event as (
  insert into message_events (tenant_id, provider, provider_event_id, outbound_message_id, enrollment_id, event_type, event_at)
  select tenant_id, 'sendgrid', 'e1', message, enrollment, 'delivered', now() from ids
), event_key as (
  insert into message_event_keys (tenant_id, provider, provider_event_id, event_at)
  select tenant_id, 'sendgrid', 'e1', now() from ids
), inbound as (
  insert into inbound_messages (tenant_id, mail_hash, raw, raw_length, state, applied_at, outbound_message_id, matched_by)
  select tenant_id, sha256(uuid_send(message)), '', 0, 'applied', now(), message, 'address' from ids
), api_key as (
  insert into api_keys (tenant_id, secret_hash, scopes) select tenant_id, sha256(uuid_send(tenant_id)), array['read'] from ids
)
insert into audit_log (tenant_id, actor, act, subject) select tenant_id, 'test', 'test', 'test' from ids;
