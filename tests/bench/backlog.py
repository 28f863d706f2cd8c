"""What waits must cost nothing: sending beside very many pending rows, and after very many sends.

    .venv/bin/python -m tests.bench.backlog --pending 10000000 --completed 1000000 --json FILE

Two questions. `pending`: messages a second beside so many rows that cannot go, over those beside
ten thousand. Most lie in the future of the same senders, some are due with senders that have no
token, some belong to a tenant that is paused. `completed`: milliseconds of a claim after so many
sends that no vacuum has cleared away, beside an old snapshot too, with floors and without.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any, LiteralString
from uuid import UUID

import psycopg

from outreach.db import Database
from outreach.services.sweep import look_below_floors
from outreach.store import dispatch
from tests.bench import ground, peer, send, shape

FEW_PENDING = 10_000
CLAIMS = 30
BATCH = 100

# Who holds the filler: a sender without tokens in each tenant, a paused tenant, and a few people.
HOLDERS_IN: LiteralString = """
with paused as (
  insert into tenants (slug, name, postal_address, state, paused_at)
  values ('bench-paused', 'Paused', '1 Main St', 'paused', now()) returning id
),
sender as (
  insert into sender_identities (tenant_id, from_email, from_name, state, verified_at)
  select id, 'spent@example.net', 'Spent', 'verified', now()
  from (select id from tenants union all select id from paused) tenant
  returning tenant_id, id
),
spent as (
  insert into send_rate_limits (tenant_id, scope, key, per_hour_max)
  select tenant_id, 'sender', id::text, 0 from sender
),
campaign as (
  insert into campaigns (tenant_id, name, state, sender_id, launched_at)
  select tenant_id, 'Filler', 'active', id, now() from sender
  returning tenant_id, id, sender_id
),
plan as (
  insert into campaign_plans (tenant_id, campaign_id, version, plan, hash)
  select c.tenant_id, c.id, 1, (select plan from campaign_plans limit 1), 'bench' from campaign c
),
contact as (
  insert into contacts (tenant_id, email)
  select c.tenant_id, 'filler' || n || '@example.net'
  from campaign c cross join generate_series(1, 1000) as n
  returning tenant_id, id
)
insert into enrollments (tenant_id, campaign_id, contact_id, sender_id, plan_version, state,
  current_node_id, visits, entered_at)
select k.tenant_id, c.id, k.id, c.sender_id, 1, 'active', 'intro', '{"intro": 1}', now()
from contact k join campaign c on c.tenant_id = k.tenant_id
"""
# Of a hundred 70 far in the future of busy senders, 20 due without a token, 10 of the paused one.
FILLER_IN: LiteralString = """
with holder as (
  select e.tenant_id, array_agg(e.id order by e.id) as enrollments,
    min(e.campaign_id::text)::uuid as campaign_id,
    min(e.sender_id::text)::uuid as spent_id, t.state = 'paused' as is_paused,
    (select array_agg(s.id order by s.id) from sender_identities s
      where s.tenant_id = e.tenant_id and s.from_email <> 'spent@example.net') as senders,
    row_number() over (partition by t.state = 'paused' order by e.tenant_id) - 1 as place,
    count(*) over (partition by t.state = 'paused') as total
  from enrollments e
  join tenants t on t.id = e.tenant_id
  join campaigns c on c.tenant_id = e.tenant_id and c.id = e.campaign_id and c.name = 'Filler'
  group by e.tenant_id, t.state
)
insert into scheduled_actions
  (tenant_id, enrollment_id, campaign_id, sender_id, node_id, visit, kind, due_at)
select h.tenant_id, h.enrollments[1 + n / 100 %% 1000], h.campaign_id,
  case when n %% 100 < 70 then h.senders[1 + n / 100 %% cardinality(h.senders)] else h.spent_id end,
  'intro', 1, 'send',
  now() + case when n %% 100 < 70 then interval '30 days' else interval '-1 day' end
    + n %% 86400 * interval '1 second' / 2
from generate_series(%(after)s::bigint + 1, %(count)s::bigint) as n
join holder h on h.is_paused = (n %% 100 >= 90) and h.place = n / 7 %% h.total
"""
STATEMENTS: LiteralString = """
select calls, total_exec_time from pg_stat_statements
where query like 'with floor as materialized%%' or query like 'with head as materialized%%'
"""
# As a launch leaves it: all due at one moment, in each of the tenant's lanes.
LAUNCHED: LiteralString = """
with person as materialized (
  select id, campaign_id, sender_id, count(*) over () as total
  from enrollments where tenant_id = %(tenant_id)s and current_node_id = 'intro'
)
insert into scheduled_actions
  (tenant_id, enrollment_id, campaign_id, sender_id, node_id, visit, kind, due_at)
select %(tenant_id)s, p.id, p.campaign_id, p.sender_id, 'intro', 1, 'send',
  now() - interval '1 hour'
from person p
cross join lateral generate_series(1, ceil(%(count)s::numeric / p.total)::int)
"""
COMPLETED: LiteralString = """
update scheduled_actions a set state = 'done'
from (
  select id from scheduled_actions
  where tenant_id = %(tenant_id)s and kind = 'send' and state = 'pending' and due_at <= now()
  order by due_at, id limit %(count)s::int
) head
where a.tenant_id = %(tenant_id)s and a.id = head.id
"""


def fill(connection: psycopg.Connection[Any], count: int, after: int = 0) -> None:
    """Filler up to so many rows; foreign keys are not asked, since they are right by making."""
    if not after:
        connection.execute(HOLDERS_IN)
    with connection.transaction():
        connection.execute("set local session_replication_role = replica")
        connection.execute(FILLER_IN, {"after": after, "count": count})
    connection.execute("vacuum (analyze) scheduled_actions")
    connection.execute("checkpoint")


def beside_pending(
    connection: psycopg.Connection[Any],
    conninfo: str,
    sandbox: ground.StandIn,
    environment: Mapping[str, str],
    *,
    pending: int,
    messages: int,
    rounds: int,
) -> dict[str, Any]:
    """Messages a second beside few and beside many, and their ratio."""
    found: dict[str, Any] = {}
    start = send.drain(connection, conninfo, sandbox, environment)
    filled = 0
    for count in (FEW_PENDING, pending):
        fill(connection, count, filled)
        filled = count
        runs = []
        for number in range(rounds):
            shape.make_due(connection, messages, f"b{count}-{number}-")
            shape.settle(connection)
            before = _claims_so_far(connection)
            run = send.drain(connection, conninfo, sandbox, environment)
            figures = send.figures(connection, run, start, messages)
            runs.append(figures | _claims_since(connection, before))
        found[f"{count:,}"] = runs
    few, many = (
        median(run["messages_per_second"] for run in found[f"{count:,}"])
        for count in (FEW_PENDING, pending)
    )
    found["ratio"] = round(many / few, 3)
    print(json.dumps({"ratio": found["ratio"]}), flush=True)
    return found


def _claims_so_far(connection: psycopg.Connection[Any]) -> tuple[int, float]:
    rows = connection.execute(STATEMENTS).fetchall()
    return sum(row[0] for row in rows), sum(row[1] for row in rows)


def _claims_since(
    connection: psycopg.Connection[Any], before: tuple[int, float]
) -> dict[str, float]:
    calls, milliseconds = _claims_so_far(connection)
    calls, milliseconds = calls - before[0], milliseconds - before[1]
    return {"lane_statement_ms": round(milliseconds / max(calls, 1), 3)}


def after_completions(
    connection: psycopg.Connection[Any], conninfo: str, completed: int
) -> dict[str, Any]:
    """Milliseconds of looking at the lanes and taking a batch, with dead rows and old snapshots."""
    connection.execute("alter table scheduled_actions set (autovacuum_enabled = false)")
    rows = connection.execute("select id from tenants order by slug limit 1").fetchall()
    tenant_id: UUID = rows[0][0]
    only = {"tenant_id": tenant_id}
    with connection.transaction():
        connection.execute("set local session_replication_role = replica")
        connection.execute(LAUNCHED, only | {"count": 2 * completed + 10_000})
    connection.execute("vacuum (analyze)")

    def claims() -> float:
        return asyncio.run(_claim_ms(conninfo, tenant_id))

    found = {"fresh": claims()}
    for name, snapshot in (("", _nothing), (" beside an old snapshot", _old_snapshot)):
        with snapshot(conninfo):
            connection.execute(COMPLETED, only | {"count": completed})
            connection.execute("delete from lane_floors")
            found["without floors" + name] = claims()
            asyncio.run(_look(conninfo))
            found["with floors" + name] = claims()
    return {name: round(value, 2) for name, value in found.items()}


async def _claim_ms(conninfo: str, tenant_id: UUID) -> float:
    """The median over some claims, each taken and then rolled back with its tokens."""
    times = []
    async with Database.at(conninfo, application="outreach-bench") as db:
        for _ in range(CLAIMS):
            async with db.connection() as tx, tx.transaction(force_rollback=True):
                await dispatch.begin_claim(tx, tenant_id)
                began = monotonic()
                lanes = await dispatch.list_lanes(tx, tenant_id)
                takes = {lane.sender_id: 1 + BATCH // len(lanes) for lane in lanes}
                await dispatch.claim_sends(tx, tenant_id, takes)
                times.append((monotonic() - began) * 1000)
    return median(times)


async def _look(conninfo: str) -> None:
    async with Database.at(conninfo, application="outreach-bench") as db:
        await look_below_floors(db)


@contextmanager
def _nothing(conninfo: str) -> Iterator[None]:
    yield


@contextmanager
def _old_snapshot(conninfo: str) -> Iterator[None]:
    """Somebody's long transaction, as of a dump."""
    with psycopg.connect(conninfo) as connection:
        connection.execute("set transaction isolation level repeatable read")
        connection.execute("select count(*) from tenants")
        yield
        connection.rollback()


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pending", type=int, default=1_000_000)
    parser.add_argument("--completed", type=int, default=100_000)
    parser.add_argument("--messages", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    with ExitStack() as stack:
        place = stack.enter_context(ground.ground())
        sandbox = stack.enter_context(ground.stand_in(0, peer.stand_in_program(place)))
        with psycopg.connect(place.conninfo, autocommit=True) as connection:
            shape.seed(connection, plan_kind="plain", limits="on")
            shape.make_due(connection, 20_000, "history-")
            send.drain(connection, place.conninfo, sandbox, {})
            connection.execute("vacuum (analyze)")
            results = {
                "pending": beside_pending(
                    connection,
                    place.conninfo,
                    sandbox,
                    {},
                    pending=given.pending,
                    messages=given.messages,
                    rounds=given.rounds,
                ),
                "completed": after_completions(connection, place.conninfo, given.completed),
            }
    text = json.dumps(results, indent=2)
    print(text)
    if given.json is not None:
        given.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
