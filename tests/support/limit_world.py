"""A tenant under random limits, four workers at it, and an oracle that counts for itself.

Limits are drawn for every scope and window; workers send as fast as they can between moves of the
clock. Each request reaches the provider up to two seconds after its grant, as the product allows:
how long after is drawn here, and is what the provider's own view of time is made of.

The oracle keeps its own account of what each limit was at each moment: rules as they were drawn, a
warm-up counted from the provider's first acceptance, half of it all while a sender is slowed. It
shares no code with the product and asks, of each mail, how many of the same key went before it.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import LiteralString
from uuid import UUID

from outreach.db import Database
from outreach.dev.sandbox import SandboxServer
from outreach.services.send import SendContext
from tests.support.clock import MovedClock
from tests.support.factories import Campaign, make_campaign, run
from tests.support.sending import drain, enroll_many, smaller

WINDOWS = (60, 3_600, 86_400)
COLUMNS = ("per_minute_max", "per_hour_max", "per_day_max")
LATE_SECONDS_MAX = 2.0
THREE_DAYS = 3 * 86_400
DOMAINS = ("one.example", "two.example", "three.example")
MAILS = 150

GRANTS: LiteralString = """
select m.id::text, m.sender_id::text, s.ip_pool, m.to_domain, extract(epoch from a.armed_at)::float8
from send_attempts a
join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
join sender_identities s on s.tenant_id = m.tenant_id and s.id = m.sender_id
where a.outcome in ('accepted', 'unknown', 'armed')
"""
NEXT: LiteralString = """
select extract(epoch from min(moment) - clock_timestamp())::float8
from (
  select until as moment from send_holds where ended_at is null
  union all
  select due_at from scheduled_actions where state = 'pending' and kind = 'send'
) next
where moment > clock_timestamp()
"""
SET_LIMIT: LiteralString = """
insert into send_rate_limits
  (tenant_id, scope, key, per_minute_max, per_hour_max, per_day_max, warmup_max, is_off)
values (%(t)s, %(scope)s, %(key)s, %(minute)s, %(hour)s, %(day)s, %(warm_up)s, true)
"""
SET_INSTALLATION: LiteralString = """
update installation set per_minute_max = %(minute)s, per_hour_max = %(hour)s,
  per_day_max = %(day)s, is_limit_off = true
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """What was drawn for one key: a cap or none for each window, and the warm-up's first day."""

    caps: Mapping[int, int]
    warm_up: int | None = None

    def cap(self, window: int, warm_seconds: float, is_slowed: bool) -> int | None:
        """The cap of a window at a moment, worked out the long way."""
        found = self.caps.get(window)
        if window == 86_400 and self.warm_up is not None:
            day = self.warm_up
            while warm_seconds >= THREE_DAYS:
                day, warm_seconds = day * 2, warm_seconds - THREE_DAYS
            found = day if found is None else min(found, day)
        if found is not None and is_slowed and found > 1:
            found = found // 2
        return found


@dataclass(slots=True)
class Sent:
    """One mail: who and where to, when it was granted, when the provider saw it."""

    sender: str
    pool: str | None
    domain: str
    granted: float
    arrived: float


@dataclass(slots=True)
class Slow:
    """When a sender was slowed: from and until, in the database's time."""

    times: list[tuple[float, float]] = field(default_factory=list)

    def is_at(self, moment: float) -> bool:
        return any(since <= moment < until for since, until in self.times)

    def seconds_until(self, moment: float) -> float:
        """How long it was slowed before a moment."""
        return sum(min(until, moment) - since for since, until in self.times if since < moment)


@dataclass(slots=True)
class LimitWorld:
    """The tenant, its rules, and everything that went out."""

    db: Database
    clock: MovedClock
    sandbox: SandboxServer
    campaigns: list[Campaign]
    rules: dict[tuple[str, str], Rule]
    contexts: list[SendContext]
    rng: random.Random
    slow: dict[str, Slow] = field(default_factory=lambda: defaultdict(Slow))
    _arrived: dict[str, float] = field(default_factory=dict)

    @property
    def tenant_id(self) -> UUID:
        return self.campaigns[0].tenant_id

    async def hammer(self) -> int:
        """All workers at once, until nothing can go; how many mails that were."""
        now = await self.clock.unix()
        await asyncio.gather(*(drain(context, self.tenant_id) for context in self.contexts))
        new = self.sandbox.accepted[len(self._arrived) :]
        for record in new:
            late = self.rng.choice((0.0, LATE_SECONDS_MAX, self.rng.uniform(0, LATE_SECONDS_MAX)))
            self._arrived[str(record.outreach_message_id)] = now + late
        return len(new)

    async def wait(self) -> None:
        """Mostly to the moment at which something is promised to be free, or a little later."""
        soon = (await run(self.db, NEXT))[0][0] or 60.0
        drawn = self.rng.random()
        if drawn < 0.5:
            await self.clock.move(soon + self.rng.choice((0.0, 0.001, self.rng.uniform(0, 2))))
        elif drawn < 0.7:  # the last moment of a sub-bucket
            length = self.rng.choice(WINDOWS) // 60
            now = await self.clock.unix()
            await self.clock.move(length - now % length - 0.001)
        elif drawn < 0.9:
            await self.clock.move(self.rng.expovariate(1 / 40))
        else:
            await self.clock.move(self.rng.expovariate(1 / 20_000))

    async def change_regard(self) -> None:
        """A random sender is slowed, or goes on at its full pace."""
        campaign = self.rng.choice(self.campaigns)
        slow, now = self.slow[str(campaign.sender_id)], await self.clock.unix()
        is_slowed = slow.is_at(now)
        await run(
            self.db,
            "update sender_identities set reputation = %(r)s::reputation_state,"
            " reputation_at = clock_timestamp(), warmup_lost_seconds = %(lost)s where id = %(s)s",
            r="good" if is_slowed else "slowed",
            lost=slow.seconds_until(now) / 2,
            s=campaign.sender_id,
        )
        if is_slowed:
            slow.times[-1] = (slow.times[-1][0], now)
        else:
            slow.times.append((now, float("inf")))

    async def sent(self) -> list[Sent]:
        """Everything that was accepted."""
        rows = await run(self.db, GRANTS)
        assert {row[0] for row in rows} == set(self._arrived), "each grant arrived, and no more"
        return [
            Sent(sender, pool, domain, granted, self._arrived[id_])
            for id_, sender, pool, domain, granted in rows
        ]

    def over(self, sent: Sequence[Sent]) -> list[str]:
        """Each window that holds more than its limit, by grants and as the provider saw it."""
        found: list[str] = []
        for (scope, key), rule in self.rules.items():
            mine = [one for one in sent if _key(scope, one) == key]
            for clock in ("granted", "arrived"):
                moments = sorted(getattr(one, clock) for one in mine)
                for window in WINDOWS:
                    found += self._over(scope, key, rule, window, moments, clock)
        return found

    def _over(
        self, scope: str, key: str, rule: Rule, window: int, moments: Sequence[float], clock: str
    ) -> list[str]:
        for index, moment in enumerate(moments):
            is_slowed, warm = False, moment - moments[0]
            if scope == "sender":
                # What was granted at full pace may leave a moment after it was slowed.
                is_slowed = all(self.slow[key].is_at(moment - back) for back in (0.0, 2.5))
                warm -= self.slow[key].seconds_until(moment) / 2
            cap = rule.cap(window, warm, is_slowed)
            count = index + 1 - bisect_right(moments, moment - window)
            if cap is not None and count > cap:
                return [f"{scope} {key} {clock}: {count} in {window} s, and {cap} may go"]
        return []


def _key(scope: str, one: Sent) -> str | None:
    match scope:
        case "sender":
            return one.sender
        case "pool":
            return one.pool
        case "domain":
            return one.domain
        case _:
            return ""


def drawn_rule(rng: random.Random, least: int, *, warms: bool = False) -> Rule:
    """Caps for some of the windows, each longer one with more."""
    caps, cap = {}, least
    for window in WINDOWS:
        cap += rng.randint(1, 3 * least)
        if rng.random() < 0.6:
            caps[window] = cap
    return Rule(caps, rng.randint(2, 2 * least) if warms and rng.random() < 0.5 else None)


async def limit_world(
    db: Database,
    clock: MovedClock,
    sandbox: SandboxServer,
    context: SendContext,
    workers: Sequence[Database],
    seed: int,
) -> LimitWorld:
    """Three senders, two of them in a pool, with much to do and little allowed."""
    rng = random.Random(seed)
    first = await make_campaign(db)
    campaigns = [first, *[await make_campaign(db, first.tenant_id) for _ in range(2)]]
    for campaign in campaigns:
        await enroll_many(db, campaign, MAILS, DOMAINS)
    senders = [str(campaign.sender_id) for campaign in campaigns]
    rules: dict[tuple[str, str], Rule] = {
        ("sender", sender): drawn_rule(rng, 3, warms=True) for sender in senders
    }
    rules["pool", "shared"] = drawn_rule(rng, 5, warms=True)
    rules["tenant", ""] = drawn_rule(rng, 8)
    rules["installation", ""] = drawn_rule(rng, 9)
    rules |= {("domain", domain): drawn_rule(rng, 4) for domain in DOMAINS[:2]}
    await run(
        db, "insert into ip_pools (tenant_id, name) values (%(t)s, 'shared')", t=first.tenant_id
    )
    await run(
        db,
        "update sender_identities set ip_pool = 'shared' where id::text = any(%(s)s)",
        s=senders[1:],
    )
    for (scope, key), rule in rules.items():
        minute, hour, day = (rule.caps.get(window) for window in WINDOWS)
        caps = {"minute": minute, "hour": hour, "day": day}
        if scope == "installation":
            await run(db, SET_INSTALLATION, **caps)
        else:
            of = {"t": first.tenant_id, "scope": scope, "key": key, "warm_up": rule.warm_up}
            await run(db, SET_LIMIT, **of, **caps)
    await run(
        db,
        "insert into send_rate_limits (tenant_id, scope, is_off) values (%(t)s, 'domain', true)",
        t=first.tenant_id,
    )
    contexts = [
        smaller(replace(context, db=worker), size, 2)
        for worker, size in zip(workers, (3, 7, 20, 50), strict=True)
    ]
    return LimitWorld(db, clock, sandbox, campaigns, rules, contexts, rng)
