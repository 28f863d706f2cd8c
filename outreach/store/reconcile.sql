-- A campaign's accounts: what our own books say, to be held against those of the provider.

-- name: count_positions
-- How many contacts stand at which step, or ended how.
select e.state::text as state, e.current_node_id as node, count(*) as count
from enrollments e
where e.tenant_id = %(tenant_id)s::uuid and e.campaign_id = %(campaign_id)s::uuid
group by e.state, e.current_node_id;

-- name: count_events
-- Events that the provider told of the campaign's mails, those of machines apart; what a timer concluded
-- from silence is none.
select v.event_type::text as event, v.is_machine, count(*) as count
from message_events v
join enrollments e on e.tenant_id = v.tenant_id and e.id = v.enrollment_id
where v.tenant_id = %(tenant_id)s::uuid and e.campaign_id = %(campaign_id)s::uuid
  and v.event_type not in ('no_open', 'no_click', 'no_reply')
group by v.event_type, v.is_machine;

-- name: count_ends
-- How enrollments ended, and why.
select t.code, t.reason, count(*) as count
from campaign_transitions t
join enrollments e on e.tenant_id = t.tenant_id and e.id = t.enrollment_id
where t.tenant_id = %(tenant_id)s::uuid and e.campaign_id = %(campaign_id)s::uuid and t.to_node_id is null
  and t.code in ('completed', 'stopped', 'failed')
group by t.code, t.reason
order by count desc;

-- name: count_sent_by_node
-- How many of a campaign's messages are sent, by the step that wrote them.
select m.node_id as node, count(*) as count
from outbound_messages m
where m.tenant_id = %(tenant_id)s::uuid and m.campaign_id = %(campaign_id)s::uuid and m.state = 'sent'
group by m.node_id
order by m.node_id;

-- name: list_sent
-- The page after an id of what the ledger calls sent.
select m.id
from outbound_messages m
where m.tenant_id = %(tenant_id)s::uuid and m.campaign_id = %(campaign_id)s::uuid and m.state = 'sent'
  and m.id > %(after)s::uuid
order by m.id
limit %(rows_max)s::integer;

-- name: count_sent_after_suppression
-- Requests decided after the address's suppression was on record, and so long after it that the two
-- transactions cannot have run side by side.
select count(*) as count
from send_attempts a
join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
join suppressions s on s.tenant_id = m.tenant_id and s.channel = 'email' and s.value_key = lower(m.to_address)
where m.tenant_id = %(tenant_id)s::uuid and m.campaign_id = %(campaign_id)s::uuid
  and a.armed_at > s.created_at + make_interval(secs => %(grace_seconds)s::double precision)
  and (s.lifted_at is null or a.armed_at < s.lifted_at);

-- name: measure_first_wave
-- The mails of the first step: how many, and in what time from the first decision to the last answer.
select count(*) as count,
  coalesce(extract(epoch from max(a.settled_at) - min(a.armed_at)), 0)::double precision as seconds
from outbound_messages m
join send_attempts a on a.tenant_id = m.tenant_id and a.message_id = m.id and a.outcome = 'accepted'
where m.tenant_id = %(tenant_id)s::uuid and m.campaign_id = %(campaign_id)s::uuid and m.node_id = %(node)s::text;

-- name: count_bodies
-- Webhook bodies that wait, were applied or could not be read, and events that belong to nobody known.
select (select count(*) from webhook_deliveries where state = 'received') as received,
  (select count(*) from webhook_deliveries where state = 'applied') as applied,
  (select count(*) from webhook_deliveries where state = 'quarantined') as quarantined,
  (select count(*) from unmatched_events where adopted_at is null) as unmatched;

-- name: find_eventful_contact
-- The address of the contact with the longest story that saw a timer fire or a click; null without any.
select c.email
from enrollments e
join contacts c on c.tenant_id = e.tenant_id and c.id = e.contact_id
join campaign_transitions t on t.tenant_id = e.tenant_id and t.enrollment_id = e.id
where e.tenant_id = %(tenant_id)s::uuid and e.campaign_id = %(campaign_id)s::uuid
group by c.email
order by (bool_or(t.trigger = 'opened'))::integer + (bool_or(t.trigger = 'no_click'))::integer desc, count(*) desc, c.email
limit 1;
