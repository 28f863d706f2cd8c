"""The world that sending is measured in: ten tenants with every guard in their way and none of them
in force.

Limits are set at every scope and far out of reach, the suppression list is long and names nobody
who is due, quiet hours lie elsewhere in the day, and each message starts a timer.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg

from outreach.core.plan import parse_plan

TENANTS = 10
SENDERS_OF_TENANT = 16
SMALL_DOMAINS = 1_400  # beside one large one, which has three recipients in ten
SUPPRESSIONS_OF_TENANT = 5_000
CAP = 1_000_000_000

PLANS = ("plain", "rich")
LIMITS = ("on", "days", "off")

TENANTS_IN: LiteralString = """
insert into tenants (slug, name, postal_address)
select 'bench-' || n, 'Bench ' || n, '1 Main St' from generate_series(1, %(count)s::int) as n
"""
SUPPRESSIONS_IN: LiteralString = """
insert into suppressions (tenant_id, value, reason)
select t.id, 'gone' || n || '@example.net', 'bounce'
from tenants t cross join generate_series(1, %(count)s::int) as n
"""
# The windows that bind by default; `days` has every window at every scope, `off` none.
LIMITS_IN: LiteralString = """
insert into send_rate_limits
  (tenant_id, scope, is_off, per_minute_max, per_hour_max, per_day_max)
select t.id, w.scope, %(limits)s = 'off',
  case when %(limits)s = 'days' or (%(limits)s = 'on' and w.has_more) then %(cap)s::int end,
  case when %(limits)s <> 'off' then %(cap)s::int end,
  case when %(limits)s = 'days' or (%(limits)s = 'on' and w.has_more) then %(cap)s::int end
from tenants t
cross join (values ('sender', true), ('tenant', false), ('domain', false)) as w (scope, has_more)
"""
INSTALLATION_SET: LiteralString = """
update installation
set is_limit_off = %(limits)s = 'off',
  per_minute_max = case when %(limits)s = 'days' then %(cap)s::int end,
  per_hour_max = case when %(limits)s <> 'off' then %(cap)s::int end,
  per_day_max = case when %(limits)s = 'days' then %(cap)s::int end
"""
# Warmed up long ago.
SENDERS_IN: LiteralString = """
insert into sender_identities
  (tenant_id, from_email, from_name, state, verified_at, first_sent_at)
select t.id, 'ana' || n || '@' || t.slug || '.example', 'Ana ' || n, 'verified', now(),
  now() - interval '90 days'
from tenants t cross join generate_series(1, %(count)s::int) as n
"""
CAMPAIGNS_IN: LiteralString = """
with campaign as (
  insert into campaigns (tenant_id, name, state, sender_id, launched_at)
  select s.tenant_id, s.from_email, 'active', s.id, now() from sender_identities s
  returning tenant_id, id
)
insert into campaign_plans (tenant_id, campaign_id, version, plan, hash)
select tenant_id, id, 1, %(plan)s::jsonb, 'bench' from campaign
"""
# Contacts of every campaign in turn, enrolled, and due now.
DUE_IN: LiteralString = """
with campaign as (
  select tenant_id, id, sender_id, row_number() over (order by tenant_id, id) - 1 as place,
    count(*) over () as total
  from campaigns where name <> 'Filler'  -- of what only waits
),
contact as (
  insert into contacts
    (tenant_id, first_name, last_name, company, title, timezone, country, email, attributes)
  select c.tenant_id, 'First' || n, 'Last' || n, 'Company & Sons ' || n, 'VP of things',
    (array['UTC', 'Europe/Berlin', 'Europe/London', null])[1 + n %% 4], 'DE',
    %(prefix)s::text || n || '@' || case
      when n %% 10 < 3 then 'bigmail.example'
      else 'd' || n::bigint * 7919 %% %(domains)s::int || '.example.org' end,
    jsonb_build_object('city', 'City' || n %% 97, 'place', c.place)
  from generate_series(1, %(count)s::int) as n
  join campaign c on c.place = n %% c.total
  returning tenant_id, id, (attributes ->> 'place')::int as place
),
enrollment as (
  insert into enrollments (tenant_id, campaign_id, contact_id, sender_id, plan_version, state,
    current_node_id, visits, entered_at)
  select k.tenant_id, c.id, k.id, c.sender_id, 1, 'active', 'intro', '{"intro": 1}', now()
  from contact k join campaign c on c.place = k.place
  returning tenant_id, id, campaign_id, sender_id
)
insert into scheduled_actions
  (tenant_id, enrollment_id, campaign_id, sender_id, node_id, visit, kind, due_at)
select tenant_id, id, campaign_id, sender_id, 'intro', 1, 'send', now() - interval '1 second'
from enrollment
"""

SUBJECT = "{{ contact.first_name }}, a quick question about {{ contact.company }}"
LINE = "We help teams like {{ contact.company }} in {{ contact.attributes.city }} get more done. "
BODY = "Hi {{ contact.first_name }},\n\n" + LINE * 8 + "\n\nBest,\n{{ sender.name }}\n"
BODY_HTML = (
    "<html><body><p>Hi {{ contact.first_name }},</p>"
    + "<p>We help teams like <b>{{ contact.company }}</b> in {{ contact.attributes.city }}"
    " get more done.</p>" * 12 + "<p>Best,<br>{{ sender.name }}</p></body></html>"
)
RICH = (
    "{% assign name = contact.first_name | default: 'there' | capitalize %}Hi {{ name }},\n\n"
    "{% assign words = 'one,two,three,four,five' | split: ',' %}"
    "{% if contact.country == 'DE' %}Guten Tag, {% elsif contact.country == 'FR' %}Bonjour, "
    "{% endif %}{% for word in words %}{{ word }}. " + LINE + "{% endfor %}\n"
    "{{ contact.title | downcase | replace: 'vp', 'head' }} {{ contact.attributes.city | upcase }}"
    "\n\nBest,\n{{ sender.name | append: ' of ' | append: tenant.name }}\n"
)


def plan(kind: str, now: datetime) -> dict[str, Any]:
    """A plan whose first mail may leave now; `rich` has variants, loops and a long way to go."""
    away, back = now + timedelta(hours=9), now + timedelta(hours=11)
    waits = [
        {"on": "opened", "to": "wait_click", "within": "PT72H"},
        {"on": "no_open", "to": "bump", "after": "PT72H"},
        {"on": "replied", "to": "stop"},
    ]
    intro: dict[str, Any] = {"id": "intro", "action": "send", "transitions": waits}
    words = {"subject": SUBJECT, "body": BODY, "body_html": BODY_HTML}
    bump: dict[str, Any] = {"id": "bump", "action": "send", "subject": "Again", "body": "Hello."}
    more: list[dict[str, Any]] = []
    if kind == "rich":
        texts = {"subject": SUBJECT, "body": RICH, "body_html": "<p>" + RICH + "</p>"}
        intro["variants"] = [{"id": v, "weight": w, **texts} for v, w in (("a", 3), ("b", 1))]
        bump["transitions"] = [{"on": "no_reply", "to": "step1", "after": "P3D"}]
        more = [_step(number) for number in range(1, 9)]
    else:
        intro |= words
    return {
        "version": "1.0",
        "timezone": "UTC",
        "quiet_hours": {"start": f"{away:%H:%M}", "end": f"{back:%H:%M}"},
        "send_window": {
            "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
            "start": "00:00",
            "end": "24:00",
            "zone": "contact",
        },
        "start_node_id": "intro",
        "nodes": [
            intro,
            {
                "id": "wait_click",
                "action": "wait",
                "transitions": [{"on": "no_click", "to": "bump", "after": "PT24H"}],
            },
            bump,
            *more,
        ],
    }


def _step(number: int) -> dict[str, Any]:
    step: dict[str, Any] = {"id": f"step{number}", "action": "send", "subject": "On", "body": RICH}
    if number < 8:
        step["transitions"] = [{"on": "no_reply", "to": f"step{number + 1}", "after": "P3D"}]
    return step


def seed(connection: psycopg.Connection[Any], *, plan_kind: str, limits: str) -> None:
    """Everything but what is due."""
    text = json.dumps(plan(plan_kind, datetime.now(UTC)))
    parse_plan(text)
    with connection.transaction():
        connection.execute(TENANTS_IN, {"count": TENANTS})
        connection.execute(SUPPRESSIONS_IN, {"count": SUPPRESSIONS_OF_TENANT})
        connection.execute(LIMITS_IN, {"limits": limits, "cap": CAP})
        connection.execute(INSTALLATION_SET, {"limits": limits, "cap": CAP})
        connection.execute(SENDERS_IN, {"count": SENDERS_OF_TENANT})
        connection.execute(CAMPAIGNS_IN, {"plan": text})


def make_due(connection: psycopg.Connection[Any], messages: int, prefix: str) -> None:
    """So many messages due, in the tenants and senders in turn."""
    parameters = {"count": messages, "prefix": prefix, "domains": SMALL_DOMAINS}
    connection.execute(DUE_IN, parameters)
    connection.execute("update tenants set parked_until = null, parked_at = null")  # as a launch


def settle(connection: psycopg.Connection[Any]) -> None:
    """The tables as they are after a while, so that no run pays for what was laid before it."""
    connection.execute("vacuum (analyze) contacts, enrollments, scheduled_actions")
    connection.execute("checkpoint")
