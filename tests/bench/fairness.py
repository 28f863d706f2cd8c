"""Waiting behind others: small tenants beside a very large one, and the sweep over many tenants.

    .venv/bin/python -m tests.bench.fairness --due 1000000 --pending 2000000 --json FILE

`waits`: a worker is busy with one tenant's backlog when small tenants come; seconds until each of
them has everything sent. `sweep`: milliseconds to find who has something due, among a thousand
tenants of twenty senders each, and those of the minute's look below the floors.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any, LiteralString

import psycopg

from tests.bench import ground, peer, shape

SMALL_TENANTS = 50
SMALL_MESSAGES = 100
BUSY_MESSAGES = 2_000  # sent of the large tenant before the small ones come
WAIT_SECONDS_MAX = 600.0
LOOKS = 20

# A tenant by name: senders without limits, one campaign each.
TENANT_IN: LiteralString = """
with tenant as (
  insert into tenants (slug, name, postal_address)
  select %(slug)s::text || n, %(slug)s::text || n, '1 Main St'
  from generate_series(1, %(tenants)s::int) as n
  returning id, slug
),
lifted as (
  insert into send_rate_limits (tenant_id, scope, is_off)
  select t.id, s, true from tenant t cross join unnest(array['sender', 'tenant', 'domain']) as s
),
sender as (
  insert into sender_identities (tenant_id, from_email, from_name, state, verified_at)
  select t.id, 'ana' || n || '@' || t.slug || '.example', 'Ana', 'verified', now()
  from tenant t cross join generate_series(1, %(senders)s::int) as n
  returning tenant_id, id, from_email
),
campaign as (
  insert into campaigns (tenant_id, name, state, sender_id, launched_at)
  select tenant_id, from_email, 'active', id, now() from sender
  returning tenant_id, id
)
insert into campaign_plans (tenant_id, campaign_id, version, plan, hash)
select tenant_id, id, 1, %(plan)s::jsonb, 'bench' from campaign
"""
# So many people for each campaign of the tenants of that name, all due at one moment.
DUE_IN: LiteralString = """
with campaign as (
  select c.tenant_id, c.id, c.sender_id from campaigns c
  join tenants t on t.id = c.tenant_id and t.slug like %(slug)s::text || '%%'
),
contact as (
  insert into contacts (tenant_id, first_name, company, email, attributes)
  select c.tenant_id, 'Person', 'Company & Sons',
    'p' || n || '-' || c.id || '@d' || n %% 1400 || '.example.org',
    jsonb_build_object('city', 'Ulm', 'campaign', c.id)
  from campaign c cross join generate_series(1, %(people)s::int) as n
  returning tenant_id, id, (attributes ->> 'campaign')::uuid as campaign_id
),
enrollment as (
  insert into enrollments (tenant_id, campaign_id, contact_id, sender_id, plan_version, state,
    current_node_id, visits, entered_at)
  select k.tenant_id, c.id, k.id, c.sender_id, 1, 'active', 'intro', '{"intro": 1}', now()
  from contact k join campaign c on c.id = k.campaign_id
  returning tenant_id, id, campaign_id, sender_id
)
insert into scheduled_actions
  (tenant_id, enrollment_id, campaign_id, sender_id, node_id, visit, kind, due_at)
select tenant_id, id, campaign_id, sender_id, 'intro', 1, 'send', now() from enrollment
"""
PENDING_IN: LiteralString = """
with person as materialized (
  select e.tenant_id, e.id, e.campaign_id, e.sender_id, count(*) over () as total
  from enrollments e join tenants t on t.id = e.tenant_id and t.slug like 'many%%'
)
insert into scheduled_actions
  (tenant_id, enrollment_id, campaign_id, sender_id, node_id, visit, kind, due_at)
select p.tenant_id, p.id, p.campaign_id, p.sender_id, 'intro', 1, 'send',
  now() + interval '30 days' + n %% 86400 * interval '1 second'
from person p
cross join lateral generate_series(1, greatest(1, %(count)s::bigint / p.total)) as n
"""
ENDED: LiteralString = """
select m.tenant_id, extract(epoch from max(a.settled_at) - min(m.came_at))::float
from (
  select m.tenant_id, m.id, e.entered_at as came_at
  from outbound_messages m
  join enrollments e on e.tenant_id = m.tenant_id and e.id = m.enrollment_id
  join tenants t on t.id = m.tenant_id and t.slug like 'small%%'
) m
join send_attempts a on a.tenant_id = m.tenant_id and a.message_id = m.id and a.outcome = 'accepted'
group by m.tenant_id
having count(*) = %(messages)s::int
"""
SENT: LiteralString = "select count(*) from send_attempts where outcome = 'accepted'"


def make_tenants(
    connection: psycopg.Connection[Any], slug: str, tenants: int, senders: int
) -> None:
    """Tenants called so, with their senders and campaigns."""
    given = {"slug": slug, "tenants": tenants, "senders": senders}
    connection.execute(TENANT_IN, given | {"plan": json.dumps(PLAN)})


PLAN: dict[str, Any] = {
    "version": "1.0",
    "timezone": "UTC",
    "start_node_id": "intro",
    "nodes": [{"id": "intro", "action": "send", "subject": shape.SUBJECT, "body": shape.BODY}],
}


def waits(
    connection: psycopg.Connection[Any],
    conninfo: str,
    sandbox: ground.StandIn,
    environment: Mapping[str, str],
    due: int,
) -> dict[str, Any]:
    """Seconds until each small tenant's mail is sent, while a worker has a large one's to send."""
    connection.execute("update installation set is_limit_off = true")
    make_tenants(connection, "large", 1, 160)
    make_tenants(connection, "small", SMALL_TENANTS, 1)
    connection.execute(DUE_IN, {"slug": "large", "people": -(-due // 160)})
    connection.execute("vacuum (analyze)")
    command = [sys.executable, "-m", "outreach", "worker"]
    process = subprocess.Popen(command, env=ground.environment(conninfo, sandbox, environment))
    try:
        _wait(lambda: _sent(connection) >= min(BUSY_MESSAGES, due // 4))
        before, began = _sent(connection), monotonic()
        connection.execute(DUE_IN, {"slug": "small", "people": SMALL_MESSAGES})
        _wait(lambda: len(_ended(connection)) == SMALL_TENANTS)
        seconds = monotonic() - began
        rate = (_sent(connection) - before) / seconds
    finally:
        process.terminate()
        process.wait(30)
    ended = sorted(_ended(connection))
    return {
        "due": due,
        "small_tenants": SMALL_TENANTS,
        "messages_each": SMALL_MESSAGES,
        "median_seconds": round(median(ended), 2),
        "worst_seconds": round(ended[-1], 2),
        "messages_per_second": round(rate),
    }


def _wait(holds: Callable[[], bool]) -> None:
    deadline = monotonic() + WAIT_SECONDS_MAX
    while not holds():
        assert monotonic() < deadline, "the worker does not get on"
        time.sleep(0.05)  # another process works; its progress is seen in the database alone


def _sent(connection: psycopg.Connection[Any]) -> int:
    return int(connection.execute(SENT).fetchall()[0][0])


def _ended(connection: psycopg.Connection[Any]) -> list[float]:
    return [row[1] for row in connection.execute(ENDED, {"messages": SMALL_MESSAGES})]


def sweep(connection: psycopg.Connection[Any], pending: int) -> dict[str, Any]:
    """Milliseconds of the sweep's question, and of the look below the floors."""
    make_tenants(connection, "many", 1000, 20)
    connection.execute(DUE_IN, {"slug": "many", "people": 1})
    connection.execute("update scheduled_actions set due_at = now() + interval '30 days'")
    with connection.transaction():
        connection.execute("set local session_replication_role = replica")
        connection.execute(PENDING_IN, {"count": pending})
    connection.execute(
        "update scheduled_actions set due_at = now() where id in ("
        " select min(a.id::text)::uuid from scheduled_actions a"
        " join tenants t on t.id = a.tenant_id and t.slug like 'many%0' group by a.tenant_id)"
    )
    connection.execute("vacuum (analyze)")
    found: dict[str, Any] = {"pending": pending}
    for name, query in (
        ("sweep_ms", "select count(*) from tenants_due(10000)"),
        ("look_ms", "select look_below_floors(interval '10 seconds')"),
        ("sweep_with_floors_ms", "select count(*) from tenants_due(10000)"),
    ):
        times = []
        for _ in range(LOOKS):
            began = monotonic()
            rows = connection.execute(query).fetchall()
            times.append((monotonic() - began) * 1000)
        found[name] = round(median(times), 2)
        found.setdefault("tenants_due", rows[0][0])
    return found


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--due", type=int, default=100_000, help="of the large tenant")
    parser.add_argument("--pending", type=int, default=200_000, help="of the thousand tenants")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    with ExitStack() as stack:
        place = stack.enter_context(ground.ground())
        sandbox = stack.enter_context(ground.stand_in(0, peer.stand_in_program(place)))
        with psycopg.connect(place.conninfo, autocommit=True) as connection:
            results = {
                "waits": waits(connection, place.conninfo, sandbox, {}, given.due),
                "sweep": sweep(connection, given.pending),
            }
    text = json.dumps(results, indent=2)
    print(text)
    if given.json is not None:
        given.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
