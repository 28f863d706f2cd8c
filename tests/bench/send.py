"""Messages a second of `outreach worker --until-idle`, and what each of them costs.

Three rates: from the first message armed to the last outcome recorded, which is what the rival
measures of itself; the last three quarters of that, past warming up; and the whole, with the start
and the end of the process. CPU, statements and commits are those of the whole less those of a run
that finds nothing due, so that they are a message's own.

The ratio is to `requests`: how fast the same provider client hands the same mails to the same
stand-in with no database behind it. It moves with the machine as the worker does.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, LiteralString
from uuid import uuid4

import psycopg

from outreach.config import load
from outreach.core.mail import Mail
from outreach.core.outcome import Accepted
from outreach.providers.sendgrid import SendGrid
from tests.bench import ground

FIRST_AND_LAST: LiteralString = """
with latest as (
  select armed_at, settled_at, row_number() over (order by settled_at) as place
  from (
    select armed_at, settled_at from send_attempts
    where outcome = 'accepted' order by settled_at desc limit %(messages)s::int
  ) newest
)
select count(*),
  extract(epoch from max(settled_at) - min(armed_at))::float,
  extract(epoch from max(settled_at)
    - max(settled_at) filter (where place = %(quarter)s::int))::float
from latest
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One life of a worker."""

    wall: float
    worker_cpu: float
    worker_memory_mb: float
    server_cpu: float
    statements: int
    commits: int
    foreign_cores: float  # of the machine, taken by neither of us: above a quarter, look again


def environment_of(
    connections: int | None, batch: int | None, in_flight: int | None
) -> dict[str, str]:
    """What is not left at the product's own choice."""
    given = {
        "OUTREACH_SEND_CONNECTIONS": connections,
        "OUTREACH_SEND_BATCH_MAX": batch,
        "OUTREACH_SEND_BATCHES_IN_FLIGHT": in_flight,
    }
    return {name: str(value) for name, value in given.items() if value is not None}


@contextmanager
def worker(
    conninfo: str, sandbox: ground.StandIn, given: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that ends when nothing is left to do."""
    process = subprocess.Popen(
        [sys.executable, "-m", "outreach", "worker", "--until-idle"],
        env=ground.environment(conninfo, sandbox, given),
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()


def drain(
    connection: psycopg.Connection[Any],
    conninfo: str,
    sandbox: ground.StandIn,
    given: Mapping[str, str],
) -> Run:
    """Send all that is due, and what it took."""
    statements, commits = ground.counts(connection)
    server, stand_in = ground.server_cpu_seconds(connection), ground.cpu_seconds(sandbox.pid)
    busy, began = ground.busy_seconds(), monotonic()
    own = sum(os.times()[:2])
    with worker(conninfo, sandbox, given) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = monotonic() - began
    assert process.returncode == 0, f"the worker ended with {process.returncode}"
    cpu = usage.ru_utime + usage.ru_stime
    server = ground.server_cpu_seconds(connection) - server
    ours = cpu + server + ground.cpu_seconds(sandbox.pid) - stand_in + sum(os.times()[:2]) - own
    after = ground.counts(connection)
    return Run(
        wall=wall,
        worker_cpu=cpu,
        worker_memory_mb=usage.ru_maxrss / 1024,
        server_cpu=server,
        statements=after[0] - statements,
        commits=after[1] - commits,
        foreign_cores=max(0.0, (ground.busy_seconds() - busy - ours) / wall),
    )


def figures(
    connection: psycopg.Connection[Any], run: Run, start: Run, messages: int
) -> dict[str, Any]:
    """Of a run that sent so many messages, beside one that found nothing due."""
    row = connection.execute(
        FIRST_AND_LAST, {"messages": messages, "quarter": messages // 4}
    ).fetchone()
    assert row is not None and row[0] == messages, f"{row} of {messages} were sent"
    worker_us = max(0.0, run.worker_cpu - start.worker_cpu) / messages * 1e6
    server_us = max(0.0, run.server_cpu - start.server_cpu) / messages * 1e6
    return {
        "messages_per_second": round(messages / row[1]),
        "steady_per_second": round((messages - messages // 4) / row[2]),
        "whole_per_second": round(messages / run.wall),
        "cpu_us": round(worker_us + server_us),
        "worker_cpu_us": round(worker_us),
        "postgres_cpu_us": round(server_us),
        "statements": round(max(0, run.statements - start.statements) / messages, 3),
        "commits": round(max(0, run.commits - start.commits) / messages, 3),
        "worker_memory_mb": round(run.worker_memory_mb),
        "foreign_cores": round(run.foreign_cores, 2),
    }


async def requests_per_second(sandbox: ground.StandIn, messages: int, connections: int) -> float:
    """Bare requests a second of our client."""
    settings = load(
        sendgrid_base_url=sandbox.url,
        sendgrid_api_key="SG.bench",
        secret_keys="x" * 16,
        send_connections=connections,
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
        text="Hi there,\n\nwould it suit you?\n\nAna\n" * 14,
        html="<p>Hi there,</p><p>would it suit you?</p><p>Ana</p>" * 22,
        unsubscribe_url="http://127.0.0.1:8000/u/token",
        unsubscribe_mailto=None,
        is_tracking_opens=True,
        is_tracking_clicks=True,
    )
