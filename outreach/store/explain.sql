-- All that is known of one contact, from every table that remembers something.

-- name: find_contact_by_key
-- The contact of an address, erased or not.
select c.id, c.email, concat_ws(' ', c.first_name, c.last_name) as name
from contacts c
where c.tenant_id = %(tenant_id)s::uuid and c.email_key = %(key)s::text;

-- name: list_plan_story
-- The newest `rows_max` things that happened to a contact or will, but for its mails themselves; of all
-- its campaigns or of one. `rank` puts a cause before its effect at the same moment.
with person as (
  select c.tenant_id, c.id, c.email, c.email_key, '@' || lower(c.email_domain) as domain_key, c.created_at, c.erased_at
  from contacts c
  where c.tenant_id = %(tenant_id)s::uuid and c.id = %(contact_id)s::uuid
),
enrolled as (
  select e.tenant_id, e.id, e.campaign_id, e.created_at, e.ended_at, k.name as campaign, k.ended_at as campaign_ended_at
  from enrollments e
  join campaigns k on k.tenant_id = e.tenant_id and k.id = e.campaign_id
  where e.tenant_id = %(tenant_id)s::uuid and e.contact_id = %(contact_id)s::uuid
    and (%(campaign_id)s::uuid is null or e.campaign_id = %(campaign_id)s::uuid)
),
arrival as (
  select created_at as at, 0 as rank, id, 'contact' as kind, 'imported' as code, jsonb_build_object('address', email) as detail
  from person
  union all
  select erased_at, 9, id, 'contact', 'contact_erased', '{}' from person where erased_at is not null
  union all
  select created_at, 1, id, 'enrollment', 'enrolled', jsonb_build_object('campaign', campaign, 'enrollment_id', id) from enrolled
),
step as (
  select t.occurred_at, 5, t.id, 'transition', t.code,
    coalesce(t.detail, '{}') || jsonb_build_object('campaign', e.campaign, 'from', t.from_node_id, 'to', t.to_node_id,
      'visit', t.visit, 'trigger', t.trigger, 'reason', t.reason)
  from enrolled e
  join campaign_transitions t on t.tenant_id = e.tenant_id and t.enrollment_id = e.id
),
decision as (
  select d.created_at, 2, coalesce(d.message_id, d.action_id), 'decision', coalesce(d.reason, d.verdict),
    coalesce(d.detail, '{}') || jsonb_build_object('campaign', e.campaign, 'verdict', d.verdict, 'until', d.until,
      'node', a.node_id, 'visit', a.visit)
  from enrolled e
  join send_decisions d on d.tenant_id = e.tenant_id and d.enrollment_id = e.id
  join scheduled_actions a on a.tenant_id = d.tenant_id and a.id = d.action_id
),
pause as (
  select edge.at, 6, h.id, 'hold', edge.code,
    h.detail || jsonb_build_object('campaign', e.campaign)
  from enrolled e
  join send_holds h on h.tenant_id = e.tenant_id and h.reason like '%%\_paused'
    and case h.scope when 'campaign' then h.subject_id = e.campaign_id when 'enrollment' then h.subject_id = e.id
      when 'sender' then h.subject_id in (
        select a.sender_id from scheduled_actions a where a.tenant_id = e.tenant_id and a.enrollment_id = e.id
      )
      else true end
    and coalesce(h.ended_at, 'infinity') > e.created_at and (e.ended_at is null or h.created_at < e.ended_at)
  cross join lateral (
    values (greatest(h.created_at, e.created_at), h.reason), (h.ended_at, replace(h.reason, '_paused', '_resumed'))
  ) as edge (at, code)
  where (h.ended_at is not null or not exists (
    select from send_decisions d where d.tenant_id = e.tenant_id and d.enrollment_id = e.id
      and d.reason = h.reason and d.verdict = 'hold'
  )) and edge.at < coalesce(e.ended_at, 'infinity') and (h.scope <> 'campaign' or edge.at is distinct from e.campaign_ended_at)
),
ahead as (
  select a.due_at, 8, a.id, 'action', case a.kind when 'send' then 'send_due' else 'timer_due' end,
    jsonb_build_object('campaign', e.campaign, 'node', a.node_id, 'visit', a.visit, 'trigger', a.trigger, 'held_by', a.held_by)
  from enrolled e
  join scheduled_actions a on a.tenant_id = e.tenant_id and a.enrollment_id = e.id and a.state = 'pending'
),
suppressed as (
  select edge.at, 7, s.id, 'suppression', edge.code,
    jsonb_build_object('address', s.value, 'domain', substr(p.domain_key, 2), 'suppression', s.reason, 'source', s.source,
      'note', s.note, 'lifted_by', s.lifted_by, 'lift_reason', s.lift_reason)
  from person p
  join suppressions s on s.tenant_id = p.tenant_id and s.channel = 'email' and s.value_key in (p.email_key, p.domain_key)
  cross join lateral (
    values
      (s.created_at, case s.value_key when p.domain_key then 'suppressed_domain' else 'suppressed_' || reason_text(s.reason) end),
      (s.lifted_at, 'suppression_lifted')
  ) as edge (at, code)
  where edge.at is not null
)
select at, rank, kind, code, jsonb_strip_nulls(detail) as detail
from (
  select * from arrival union all select * from step union all select * from decision union all select * from pause
  union all select * from ahead union all select * from suppressed
) story
order by at desc, rank desc, id desc
limit %(rows_max)s::int;

-- name: list_mail_story
-- The newest `rows_max` tries and events of a contact's mails, of all its campaigns or of one. A provider's
-- moments are whole seconds and seem to lie before what caused them: none lies before the acceptance.
with mail as (
  select m.tenant_id, m.id, m.node_id, m.created_at, m.sent_at, m.accepted_attempt, k.name as campaign
  from enrollments e
  join campaigns k on k.tenant_id = e.tenant_id and k.id = e.campaign_id
  join outbound_messages m on m.tenant_id = e.tenant_id and m.enrollment_id = e.id
  where e.tenant_id = %(tenant_id)s::uuid and e.contact_id = %(contact_id)s::uuid
    and (%(campaign_id)s::uuid is null or e.campaign_id = %(campaign_id)s::uuid)
),
attempt (at, rank, id, kind, code, detail) as (
  select case a.attempt when m.accepted_attempt then m.sent_at else coalesce(a.settled_at, a.armed_at) end, 3, m.id, 'attempt',
    case a.outcome when 'unknown' then 'outcome_unknown' else a.outcome::text end,
    jsonb_build_object('campaign', m.campaign, 'node', m.node_id, 'message_id', m.id, 'attempt', a.attempt,
      'http_status', a.http_status, 'answer', a.detail, 'settled_by', a.settled_by)
  from mail m
  join send_attempts a on a.tenant_id = m.tenant_id and a.message_id = m.id
),
event as (
  select greatest(v.event_at, m.sent_at), 4, v.id, 'event', case when v.is_machine then 'machine_event' else v.event_type::text end,
    v.detail || jsonb_build_object('campaign', m.campaign, 'node', m.node_id, 'message_id', m.id, 'event', v.event_type,
      'reason', coalesce(v.detail ->> 'reason', v.reason), 'machine_reason', v.machine_reason)
  from mail m
  join message_events v on v.tenant_id = m.tenant_id and v.outbound_message_id = m.id
    and v.event_at >= m.created_at - interval '1 day'
),
word (at, rank, id, kind, code, detail) as (
  select s.updated_at, 5, m.id, 'evidence',
    case when s.source <> 'person' then s.says when s.says = 'accepted' then 'said_sent' when s.says = 'not_sent' then 'said_not_sent'
      else s.says end,
    s.detail || jsonb_build_object('campaign', m.campaign, 'node', m.node_id, 'message_id', m.id, 'attempt', s.attempt,
      'times', s.times)
  from mail m
  join outcome_evidence s on s.tenant_id = m.tenant_id and s.message_id = m.id
  where s.source in ('provider_log', 'policy', 'person') and (s.source, s.says) <> ('provider_log', 'accepted')
),
alarm (at, rank, id, kind, code, detail) as (
  select i.created_at, 6, i.id, 'incident', i.code,
    i.detail || jsonb_build_object('campaign', m.campaign, 'node', m.node_id, 'message_id', m.id,
      'attempt', nullif(split_part(i.subject, ':', 2), ''))
  from mail m
  join incidents i on i.tenant_id = m.tenant_id and split_part(i.subject, ':', 1) = m.id::text
    and i.code in ('contradiction', 'double_send', 'accepted_without_attempt')
)
select at, rank, kind, code, jsonb_strip_nulls(detail) as detail
from (select * from attempt union all select * from event union all select * from word union all select * from alarm) story
order by at desc, rank desc, id desc
limit %(rows_max)s::int;
