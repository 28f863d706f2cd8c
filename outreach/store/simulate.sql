-- What a simulation takes from the tenant's own past: how readers behaved, and who the contacts are.

-- name: get_history
-- What became of the mails that were heard of last: of so many of the newest events, none older than so many days.
-- A mail counts when its delivery or its refusal is among them, since whatever followed then is too.
with newest as (
  select e.enrollment_id, e.outbound_message_id, e.event_type, e.is_machine
  from message_events e
  where e.tenant_id = %(tenant_id)s::uuid and e.event_at > now() - make_interval(days => %(days)s::integer)
  order by e.id desc
  limit %(rows_max)s::integer
), mails as (
  select n.enrollment_id,
    bool_or(n.event_type = 'delivered') as is_delivered,
    bool_or(n.event_type = 'bounced') as is_bounced,
    bool_or(n.event_type = 'blocked') as is_blocked,
    bool_or(n.event_type = 'opened' and not n.is_machine) as is_opened,
    bool_or(n.event_type = 'opened' and n.is_machine) as is_machine_opened,
    bool_or(n.event_type = 'clicked' and not n.is_machine) as is_clicked,
    bool_or(n.event_type = 'replied') as is_replied,
    bool_or(n.event_type in ('unsubscribed', 'group_unsubscribed')) as is_unsubscribed,
    bool_or(n.event_type = 'spam_report') as is_complained
  from newest n
  group by n.outbound_message_id, n.enrollment_id
  having bool_or(n.event_type in ('delivered', 'bounced', 'blocked'))
)
select count(*) as mails,
  count(*) filter (where m.is_delivered) as delivered,
  count(*) filter (where m.is_blocked and not m.is_delivered) as blocked,
  count(*) filter (where m.is_opened) as opened,
  count(*) filter (where m.is_clicked) as clicked,
  count(*) filter (where m.is_replied) as replied,
  count(*) filter (where m.is_unsubscribed) as unsubscribed,
  count(*) filter (where m.is_complained) as complained,
  count(distinct m.enrollment_id) as enrollments,
  count(distinct m.enrollment_id) filter (where m.is_bounced) as bounced,
  count(distinct m.enrollment_id) filter (where m.is_machine_opened) as machine_opened
from mails m

-- name: list_zones
-- The zones of so many of the newest contacts, and of how many of them each is.
with newest as (
  select c.timezone
  from contacts c
  where c.tenant_id = %(tenant_id)s::uuid and c.erased_at is null
  order by c.id desc
  limit %(rows_max)s::integer
)
select n.timezone as name, count(*) as contacts
from newest n
group by n.timezone
order by count(*) desc, n.timezone

-- name: list_domains
-- The domains of so many of the newest contacts that have at least so many of them, the biggest first.
with newest as (
  select c.email_domain
  from contacts c
  where c.tenant_id = %(tenant_id)s::uuid and c.erased_at is null
  order by c.id desc
  limit %(rows_max)s::integer
)
select n.email_domain as name, count(*) as contacts
from newest n
group by n.email_domain
having count(*) >= %(contacts_min)s::integer
order by count(*) desc, n.email_domain
