"""Messages a second of `outreach worker --until-idle`, beside the bare requests of the same client.

The ratio is to `requests`: how fast the same provider client hands the same mails to the same
stand-in with no database behind it. It moves with the machine as the worker does.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from time import monotonic
from typing import Any
from uuid import uuid4

import psycopg

from outreach.config import load
from outreach.core.mail import Mail
from outreach.core.outcome import Accepted
from outreach.providers.sendgrid import SendGrid
from tests.bench import ground
from tests.support.sending import ENROLL

SENDERS = 20
DOMAINS = [f"domain{n}.example" for n in range(200)]
PLAN = (
    '{"version": "1.0", "timezone": "UTC", "start_node_id": "intro", "nodes": ['
    '{"id": "intro", "action": "send", "subject": "A question, {{ contact.first_name }}",'
    ' "body": "Hi {{ contact.first_name | default: \'there\' }},\\n\\nwould it suit you?\\n\\nAna",'
    ' "transitions": [{"on": "no_open", "to": "bump", "after": "PT72H"}]},'
    '{"id": "bump", "action": "send", "subject": "Again", "body": "Hello again."}]}'
)


def measure(messages: int, *, latency_ms: int, is_limited: bool) -> dict[str, Any]:
    """One run on a database of its own, with history; the figures."""
    with ground.database() as conninfo, ground.stand_in(latency_ms) as sandbox:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            tenant = seed(connection, messages, is_limited=is_limited)
            _drain(conninfo, sandbox)  # the first half is history: statistics are real then
            connection.execute("analyze")
            enroll(connection, tenant, messages)
            figures = _timed(connection, conninfo, sandbox, messages)
    bare = asyncio.run(_requests(messages, latency_ms))
    return {
        "messages": messages,
        "latency_ms": latency_ms,
        "limits": "on" if is_limited else "off",
        **figures,
        "requests_per_second": round(bare),
        "ratio_to_requests": round(figures["messages_per_second"] / bare, 3),
    }


def seed(connection: psycopg.Connection[Any], messages: int, *, is_limited: bool) -> str:
    """One tenant, its senders, a campaign for each, and as many due messages as are measured."""
    tenant = str(uuid4())
    connection.execute(
        "insert into tenants (id, slug, name, postal_address)"
        " values (%s, 'bench', 'Bench', '1 Main')",
        [tenant],
    )
    caps = 1_000_000_000 if is_limited else None
    connection.execute(
        "insert into send_rate_limits (tenant_id, scope, is_off, per_minute_max, per_hour_max)"
        " select %s, s, %s, %s, %s from unnest(array['sender', 'tenant', 'domain']) s",
        [tenant, not is_limited, caps, caps],
    )
    connection.execute(
        "update installation set is_limit_off = %s, per_hour_max = %s", [not is_limited, caps]
    )
    for number in range(SENDERS):
        _campaign(connection, tenant, number)
    enroll(connection, tenant, messages)
    return tenant


def _campaign(connection: psycopg.Connection[Any], tenant: str, number: int) -> None:
    sender, campaign = str(uuid4()), str(uuid4())
    connection.execute(
        "insert into sender_identities (tenant_id, id, from_email, from_name, state, verified_at)"
        " values (%s, %s, %s, 'Ana', 'verified', now())",
        [tenant, sender, f"ana{number}@bench.example"],
    )
    with connection.transaction():
        connection.execute(
            "insert into campaigns (tenant_id, id, name, state, sender_id, launched_at)"
            " values (%s, %s, %s, 'active', %s, now())",
            [tenant, campaign, f"Campaign {number}", sender],
        )
        connection.execute(
            "insert into campaign_plans (tenant_id, campaign_id, version, plan, hash)"
            " values (%s, %s, 1, %s::jsonb, 'bench')",
            [tenant, campaign, PLAN],
        )


def enroll(connection: psycopg.Connection[Any], tenant: str, messages: int) -> None:
    """Due mail, spread over the senders."""
    rows = connection.execute("select id, sender_id from campaigns").fetchall()
    for campaign, sender in rows:
        connection.execute(
            ENROLL,
            {
                "t": tenant,
                "c": campaign,
                "s": sender,
                "count": messages // SENDERS,
                "prefix": f"p{uuid4().hex[:8]}-",
                "domains": DOMAINS,
            },
        )


def _drain(conninfo: str, sandbox: ground.StandIn) -> None:
    subprocess.run(
        [sys.executable, "-m", "outreach", "worker", "--until-idle"],
        env=ground.environment(conninfo, sandbox, {}),
        check=True,
    )


def _timed(
    connection: psycopg.Connection[Any],
    conninfo: str,
    sandbox: ground.StandIn,
    messages: int,
) -> dict[str, Any]:
    statements, commits = ground.counts(connection)
    server_cpu = ground.server_cpu_seconds(connection)
    worker_cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = monotonic()
    _drain(conninfo, sandbox)
    wall = monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    row = connection.execute(
        "select count(*), extract(epoch from max(settled_at) - min(armed_at))::float from ("
        " select armed_at, settled_at from send_attempts where outcome = 'accepted'"
        " order by settled_at desc limit %s) a",
        [messages],
    ).fetchone()
    assert row is not None and row[0] == messages, f"{row} of {messages} were sent"
    more_statements, more_commits = ground.counts(connection)
    worker = after.ru_utime + after.ru_stime - worker_cpu.ru_utime - worker_cpu.ru_stime
    server = ground.server_cpu_seconds(connection) - server_cpu
    return {
        "messages_per_second": round(messages / row[1]),
        "wall_seconds": round(wall, 2),
        "statements_per_message": round((more_statements - statements) / messages, 3),
        "commits_per_message": round((more_commits - commits) / messages, 3),
        "worker_cpu_us": round(worker / messages * 1e6),
        "postgres_cpu_us": round(server / messages * 1e6),
        "worker_memory_mb": round(after.ru_maxrss / 1024),
    }


async def _requests(messages: int, latency_ms: int) -> float:
    """Bare requests a second of our client."""
    with ground.stand_in(latency_ms) as sandbox:
        settings = load(
            sendgrid_base_url=sandbox.url, sendgrid_api_key="SG.bench", secret_keys="x" * 16
        )
        mails = [_mail(number) for number in range(messages)]
        async with SendGrid(settings) as provider:
            began = monotonic()
            for start in range(0, messages, 200):
                batch = mails[start : start + 200]
                outcomes = await asyncio.gather(
                    *(provider.send(mail, start_by=monotonic() + 60) for mail in batch)
                )
                assert all(isinstance(outcome, Accepted) for outcome in outcomes)
            return messages / (monotonic() - began)


def _mail(number: int) -> Mail:
    return Mail(
        tenant_id=uuid4(),
        message_id=uuid4(),
        attempt=1,
        campaign_id=uuid4(),
        to_address=f"p{number}@domain.example",
        from_address="ana@bench.example",
        from_name="Ana",
        reply_to=None,
        subject="A question",
        text="Hi there,\n\nwould it suit you?\n\nAna\n" * 3,
        html="<p>Hi there,</p><p>would it suit you?</p><p>Ana</p>" * 5,
        unsubscribe_url="http://127.0.0.1:8000/u/token",
        unsubscribe_mailto=None,
        is_tracking_opens=True,
        is_tracking_clicks=True,
    )
