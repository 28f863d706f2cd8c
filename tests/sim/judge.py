"""The judge: whether what the sandbox accepted and what the database says are one story.

It asks after the end of a run, when every armed attempt is past its deadline, every event has been
posted and every timer has fired. It knows nothing of how the run went but which attempts were in
flight when a process ended; only those may be unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, LiteralString

from outreach.core.limits import START_SECONDS_MAX
from outreach.db import Database
from outreach.dev.sandbox import SandboxServer
from outreach.sql import Tx
from tests.support.rebuilding import compared_in
from tests.support.windows import fullest_window

Attempts = Collection[tuple[str, int]]
Ends = Mapping[str, tuple[str, str | None, str | None]]

# Each names what must not be, and finds it.
NEVER: dict[str, LiteralString] = {
    "an attempt nobody answers for": "select message_id, attempt from send_attempts"
    " where outcome = 'armed'",
    "a message still under way": "select id, state from outbound_messages"
    " where state in ('sending', 'waiting_retry')",
    "a message whose state its attempts do not bear out": """
        select m.id, m.state from outbound_messages m
        left join send_attempts a on a.tenant_id = m.tenant_id and a.message_id = m.id
          and a.attempt = m.attempts
        where (m.state = 'sent') <> (a.outcome = 'accepted')
          or (m.state = 'unknown') <> (a.outcome = 'unknown') or a.outcome is null""",
    "two messages for one step": "select enrollment_id, node_id, visit from outbound_messages"
    " group by 1, 2, 3 having count(*) > 1",
    "an attempt number left out": "select message_id from send_attempts"
    " group by message_id having count(*) <> max(attempt)",
    "something due and not done": "select id, kind from scheduled_actions"
    " where state = 'pending' and held_by is null and due_at <= now()",
    "a claimed action without a message in flight": """
        select a.id from scheduled_actions a
        left join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
        where a.state = 'claimed' and m.state is distinct from 'unknown'""",
    "an action twice": "select enrollment_id, node_id, visit, kind, trigger"
    " from scheduled_actions where state <> 'canceled'"
    " group by 1, 2, 3, 4, 5 having count(*) > 1",
    "an enrollment that nothing will move": """
        select e.id from enrollments e
        where e.state = 'active' and not exists (
          select from scheduled_actions a where a.tenant_id = e.tenant_id
            and a.enrollment_id = e.id and a.state in ('pending', 'claimed'))""",
    "an ended enrollment with something to do": """
        select e.id from enrollments e
        join scheduled_actions a on a.tenant_id = e.tenant_id and a.enrollment_id = e.id
        where e.ended_at is not null and a.state = 'pending'""",
    "a step taken twice": "select enrollment_id, from_node_id, to_node_id, visit"
    " from campaign_transitions group by 1, 2, 3, 4 having count(*) > 1",
    "an event stored twice": "select outbound_message_id, event_type from message_events"
    " where event_type in ('processed', 'delivered', 'bounced', 'no_open', 'no_click', 'no_reply')"
    " group by 1, 2 having count(*) > 1",
    "an event of a message that was not accepted": """
        select v.outbound_message_id from message_events v
        join outbound_messages m on m.tenant_id = v.tenant_id and m.id = v.outbound_message_id
        where v.provider = 'sendgrid' and m.state <> 'sent'""",
    "an accepted message without its events": """
        select m.id from outbound_messages m
        where m.state = 'sent' and not exists (
          select from message_events v where v.tenant_id = m.tenant_id
            and v.outbound_message_id = m.id
            and v.event_type in ('delivered', 'bounced', 'dropped'))""",
    "a body not applied": "select id, state from webhook_deliveries where state <> 'applied'",
    "an event that belongs to nobody": "select provider_event_id from unmatched_events",
    "a campaign that should be complete": """
        select c.id from campaigns c
        join enrollments e on e.tenant_id = c.tenant_id and e.campaign_id = c.id
        where c.state = 'active' group by c.id having bool_and(e.ended_at is not null)""",
}

ENROLLMENTS: LiteralString = """
select k.email, e.state::text, e.end_reason, e.current_node_id,
  exists (
    select from outbound_messages m
    where m.tenant_id = e.tenant_id and m.enrollment_id = e.id and m.state = 'unknown'
  ) as waits_for_evidence
from enrollments e
join contacts k on k.tenant_id = e.tenant_id and k.id = e.contact_id
"""

# The caps of a tenant's windows; where the row speaks of every sender, each sender's own.
CAPS: LiteralString = """
select r.scope, s.id::text, w.seconds, w.cap
from send_rate_limits r
join sender_identities s on s.tenant_id = r.tenant_id
cross join lateral (values (60, r.per_minute_max), (3600, r.per_hour_max)) as w (seconds, cap)
where r.scope in ('sender', 'tenant') and w.cap is not null
"""
# What took tokens and kept them.
GRANTS: LiteralString = """
select a.message_id::text, a.attempt, m.sender_id::text, extract(epoch from a.armed_at)::float8
from send_attempts a
join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
where a.outcome in ('armed', 'unknown', 'accepted')
"""
# What a connection through the proxy of the tests may take.
NETWORK_SECONDS = 0.5

# What each counter says was used in its window, and how many accepted messages it stands for.
COUNTERS: LiteralString = """
select c.scope, c.key, c.used, count(a.message_id)
from (
  select tenant_id, scope, key, (select sum(u) from unnest(bucket_used) as u) as used
  from rate_limit_counters where window_seconds = 3600
  union all
  select null, 'installation', '', (select sum(u) from unnest(bucket_used) as u)
  from installation_counters where window_seconds = 3600
) c
left join outbound_messages m on (c.tenant_id is null or m.tenant_id = c.tenant_id)
  and (c.scope in ('tenant', 'installation') or (c.scope = 'sender' and c.key = m.sender_id::text)
    or (c.scope = 'domain' and c.key = m.to_domain))
left join send_attempts a on a.tenant_id = m.tenant_id and a.message_id = m.id
  and a.outcome in ('armed', 'unknown', 'accepted')
group by 1, 2, 3
"""


async def violations(
    db: Database,
    sandbox: SandboxServer,
    *,
    lost: Attempts,
    expected: Ends | None = None,
    incidents: Collection[str] = (),
) -> list[str]:
    """Everything that is wrong, a sentence each; none when all is as it must be.

    `lost` are the attempts that were in flight when a process ended. `expected` is how each address
    ends without any kill; only those that wait for evidence of an unknown message may differ.
    `incidents` are the codes of alarms that what was done had to raise.
    """
    async with db.connection() as tx:
        return await judged(tx, sandbox, lost=lost, expected=expected, incidents=incidents)


async def judged(
    tx: Tx,
    sandbox: SandboxServer,
    *,
    lost: Attempts,
    expected: Ends | None = None,
    incidents: Collection[str] = (),
) -> list[str]:
    """`violations`, as one connection sees it that may see every tenant."""
    found = await _against_sandbox(tx, sandbox, lost)
    for what, query in NEVER.items():
        found += [f"{what}: {_shown(row)}" for row in (await _rows(tx, query))[:3]]
    rows = await _rows(tx, "select code, subject from incidents")
    found += [f"an incident: {_shown(row)}" for row in rows if row[0] not in incidents]
    found += await _counters(tx)
    found += await _rebuilt(tx)
    if expected is not None:
        found += await _ends(tx, expected)
    return found


async def _against_sandbox(tx: Tx, sandbox: SandboxServer, lost: Attempts) -> list[str]:
    accepted = Counter(str(one.outreach_message_id) for one in sandbox.accepted)
    messages = dict(await _rows(tx, "select id::text, state::text from outbound_messages"))
    made = set(await _rows(tx, "select message_id::text, attempt from send_attempts"))
    unknown = set(
        await _rows(
            tx, "select message_id::text, attempt from send_attempts where outcome = 'unknown'"
        )
    )
    found = [f"accepted {times} times: {id_}" for id_, times in accepted.items() if times > 1]
    found += [
        f"accepted, but {messages.get(id_)}: {id_}"
        for id_ in accepted
        if messages.get(id_) != "sent"
    ]
    found += [
        f"sent, but never accepted: {id_}"
        for id_, state in messages.items()
        if state == "sent" and id_ not in accepted
    ]
    found += [
        f"accepted without an attempt: {one.outreach_message_id}"
        for one in sandbox.accepted
        if (str(one.outreach_message_id), int(one.outreach_attempt or 0)) not in made
    ]
    found += [f"unknown, but was not in flight: {id_}" for id_, n in unknown - set(lost)]
    return found


async def _counters(tx: Tx) -> list[str]:
    rows = await _rows(tx, COUNTERS)
    scopes = {scope for scope, *_ in rows}
    missing = {"sender", "tenant", "domain", "installation"} - scopes
    found = [f"no counter of a {scope}" for scope in sorted(missing)]
    return found + [
        f"the counter of {scope} {key} says {used}, and {sent} may have gone"
        for scope, key, used, sent in rows
        if used < sent
    ]


async def windows_exceeded(
    tx: Tx, sandbox: SandboxServer, *, leaps: Sequence[tuple[float, float]] = ()
) -> list[str]:
    """Each window of a sender or tenant that holds more than its cap, by grants or at the provider.

    `leaps` are moments at which the database was made older, and by how many seconds; what the
    provider noted before is as much older. A request that its process began too late, having
    stood still between looking at the clock and writing, is no matter of the windows.
    """
    caps = await _rows(tx, CAPS)
    granted = await _rows(tx, GRANTS)
    armed_at = {(id_, attempt): at for id_, attempt, _, at in granted}
    sender_of = {id_: sender for id_, _, sender, _ in granted}
    arrived: list[tuple[str, float]] = []
    for one in sandbox.accepted:
        id_ = str(one.outreach_message_id)
        at = one.arrived_unix - sum(by for when, by in leaps if when > one.arrived_unix)
        since = armed_at.get((id_, int(one.outreach_attempt or 0)))
        if since is not None and at - since <= START_SECONDS_MAX + NETWORK_SECONDS:
            arrived.append((sender_of[id_], at))
    found = []
    for what, taken in (
        ("granted", [(sender, at) for _, _, sender, at in granted]),
        ("accepted", arrived),
    ):
        for scope, sender, seconds, cap in caps:
            moments = [at for one, at in taken if scope == "tenant" or one == sender]
            most = fullest_window(moments, seconds)
            if most > cap:
                found.append(f"a window of {seconds} s of a {scope}: {most} {what}, {cap} allowed")
    return found


async def late_starts(
    tx: Tx, sandbox: SandboxServer, *, leaps: Sequence[tuple[float, float]] = ()
) -> int:
    """How many accepted requests began later than a grant allows: their process had stood still."""
    granted = await _rows(tx, GRANTS)
    armed_at = {(id_, attempt): at for id_, attempt, _, at in granted}
    count = 0
    for one in sandbox.accepted:
        at = one.arrived_unix - sum(by for when, by in leaps if when > one.arrived_unix)
        since = armed_at.get((str(one.outreach_message_id), int(one.outreach_attempt or 0)))
        count += since is not None and at - since > START_SECONDS_MAX + NETWORK_SECONDS
    return count


async def _rebuilt(tx: Tx) -> list[str]:
    """What `rebuild --check` finds: state that its own records do not come to."""
    found = []
    for (tenant_id,) in await _rows(tx, "select id from tenants"):
        for one in (await compared_in(tx, tenant_id))[:3]:
            what = f"the {one.field} of {one.kind} {one.id}"
            found.append(f"{what} is {one.stored}, its records come to {one.derived}")
    return found


async def _ends(tx: Tx, expected: Ends) -> list[str]:
    rows = await _rows(tx, ENROLLMENTS)
    found = [f"{len(rows)} enrollments of {len(expected)}"] if len(rows) != len(expected) else []
    for email, state, reason, node_id, waits_for_evidence in rows:
        end = (state, reason, node_id)
        if waits_for_evidence and state == "active":
            continue
        if end != expected[email]:
            found.append(f"{email} is {end} and should be {expected[email]}")
    return found


async def ends(db: Database) -> dict[str, tuple[str, str | None, str | None]]:
    """State, reason and node of each address."""
    async with db.connection() as tx:
        rows = await _rows(tx, ENROLLMENTS)
    return {email: (state, reason, node_id) for email, state, reason, node_id, _ in rows}


async def _rows(tx: Tx, query: LiteralString) -> list[tuple[Any, ...]]:
    return await (await tx.execute(query)).fetchall()


def _shown(row: tuple[Any, ...]) -> str:
    return " ".join(str(value) for value in row)
