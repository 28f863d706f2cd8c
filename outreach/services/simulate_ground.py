"""Where a tenant's plan would run: its limits, its senders' warm-up, its readers, its contacts.

Everything is read in one transaction and from samples of fixed size, however much the tenant has
sent. Who reads the next mail is guessed from who read the last ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from outreach.core.address import normalize_address
from outreach.core.errors import NotFound
from outreach.core.limits import Override, Scope, effective
from outreach.core.simulate_habits import SHARES
from outreach.core.simulate_tokens import Caps
from outreach.core.simulate_world import Crowd
from outreach.db import Database, Role
from outreach.services.simulate import Ground, Past
from outreach.sql import Tx
from outreach.store import limits as limit_store
from outreach.store import simulate as store
from outreach.store.limits import Brake
from outreach.store.simulate import History, Part

HISTORY_DAYS = 90
EVENTS_MAX = 50_000
CONTACTS_MAX = 5_000
MAILS_MIN = 100  # fewer say nothing of the next
DOMAIN_PERCENT_MIN = 1  # of the sample: smaller domains do not bind
ROWS_MAX = 10_000
EVERY = ""  # the key of every sender, or every domain

Given = Mapping[tuple[str, str], Override]


async def ground_of(db: Database, tenant_id: UUID, sender: str | None = None) -> Ground:
    """What a simulation for the tenant stands on; `sender` writes, else its first by address.

    NotFound for a sender that there is not. A tenant without any gets a new one.
    """
    async with db.transaction(Role.APP, tenant_id) as tx:
        history = await store.get_history(tx, tenant_id, days=HISTORY_DAYS, rows_max=EVENTS_MAX)
        zones = await store.list_zones(tx, tenant_id, rows_max=CONTACTS_MAX)
        sampled = sum(part.contacts for part in zones)
        least = max(sampled * DOMAIN_PERCENT_MIN // 100, 2)
        domains = await store.list_domains(tx, tenant_id, rows_max=CONTACTS_MAX, contacts_min=least)
        caps = await _caps(tx, tenant_id, sender, domains)
    is_known = history.mails >= MAILS_MIN and history.delivered > 0
    shares = {**SHARES, **(_shares(history) if is_known else {})}
    shares["same_domain"] = domains[0].contacts / sampled if domains else 0.0
    crowd = Crowd(
        [(part.name, float(part.contacts)) for part in zones] or [(None, 1.0)],
        [part.contacts / sampled for part in domains],
    )
    past = Past(HISTORY_DAYS, history.mails, is_used=is_known)
    return Ground(caps, shares, crowd, past)


def _shares(past: History) -> dict[str, float]:
    """In the words of assumptions."""
    arrived = {
        "opened": past.opened,
        "clicked": past.clicked,
        "replied": past.replied,
        "unsubscribed": past.unsubscribed,
        "spam_report": past.complained,
    }
    addresses = {"bounced": past.bounced, "machine_opened": past.machine_opened}
    return {
        **{name: min(count / past.delivered, 1.0) for name, count in arrived.items()},
        **{name: count / past.enrollments for name, count in addresses.items()},
        "blocked": past.blocked / past.mails,
    }


async def _caps(tx: Tx, tenant_id: UUID, sender: str | None, domains: Sequence[Part]) -> Caps:
    rows = await limit_store.list_limits(tx, tenant_id, rows_max=ROWS_MAX)
    senders = await limit_store.list_brakes(tx, tenant_id, rows_max=ROWS_MAX)
    shared = await limit_store.get_installation_limit(tx)
    given = {(row.scope, row.key): row.override() for row in [*rows, shared]}

    def of(scope: Scope, key: str = EVERY) -> tuple[Override | None, ...]:
        return given.get((scope.value, key)), given.get((scope.value, EVERY))

    return Caps(
        limits={scope: effective(scope, *of(scope)) for scope in Scope},
        warmth={one.id: one.warmth() for one in senders},
        sender_limits={
            one.id: effective(Scope.SENDER, *of(Scope.SENDER, str(one.id))) for one in senders
        },
        domain_limits={
            number: effective(Scope.DOMAIN, *of(Scope.DOMAIN, part.name or EVERY))
            for number, part in enumerate(domains)
        },
        own=_own(senders, sender),
    )


def _own(senders: Sequence[Brake], wanted: str | None) -> UUID | None:
    """The sender that the campaign writes from."""
    if wanted is None:
        return senders[0].id if senders else None
    address = normalize_address(wanted) or wanted
    for one in senders:
        if one.from_email.lower() == address.lower():
            return one.id
    raise NotFound("sender", wanted)
