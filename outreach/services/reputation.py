"""Senders judged by bounces and complaints, each minute; and a person's word that forgives.

Applying an event counts what became of its sender's mail, in the same transaction. Here the counts
of a week are put before `core.reputation`, for senders of whom something was heard lately and for
those of a lower reputation; nobody else is looked at. A change touches the sender's row under the
tenant's lock, so it comes wholly before or wholly after a claim; it is an incident and a log line.
"""

from __future__ import annotations

from typing import LiteralString
from uuid import UUID

from outreach import log
from outreach.core.address import normalize_address
from outreach.core.errors import NotFound
from outreach.core.reputation import WINDOW_HOURS, Regard, excess, judged
from outreach.core.states import Reputation
from outreach.db import Database, Role, lock_tenant
from outreach.services import audit
from outreach.sql import Tx
from outreach.store import limits as limit_store
from outreach.store import reputation as store
from outreach.store import senders as sender_store
from outreach.store.holds import SetHold, open_holds
from outreach.store.incidents import Incident, close_incidents, raise_incidents
from outreach.store.reputation import SenderToJudge
from outreach.store.wakeups import wake

# Longer than a minute, so that a worker that was away for a while misses nothing; the next event
# of a sender has its whole week judged in any case.
LATELY_SECONDS = 600.0
KEPT_HOURS = WINDOW_HOURS + 24
INCIDENTS: dict[Reputation, LiteralString] = {
    Reputation.SLOWED: "reputation_slowed",
    Reputation.STOPPED: "reputation_stopped",
}

_log = log.get("reputation")


async def judge_senders(db: Database) -> int:
    """Judge whom something was heard of, over all tenants; how many stand otherwise now."""
    async with db.transaction(Role.WORKER) as tx:
        senders = await store.list_senders_to_judge(tx, lately_seconds=LATELY_SECONDS)
        await store.prune_outcomes(tx, hours=KEPT_HOURS)
    changed = 0
    for sender in senders:
        before = sender.regard()
        after = judged(before, sender.tally(), sender.thresholds(), sender.now)
        if after == before:
            continue
        async with db.transaction(Role.WORKER, sender.tenant_id) as tx:
            changed += await _change(tx, sender, after)
    return changed


async def _change(tx: Tx, sender: SenderToJudge, after: Regard) -> bool:
    """Write it down, with all that follows from another reputation; whether it is another."""
    await lock_tenant(tx, sender.tenant_id)
    is_ours = await store.set_reputation_if_same(tx, sender, after)
    if not is_ours or after.reputation == sender.reputation:
        return False
    await _let_anew(tx, sender.tenant_id, sender.sender_id, sender.from_email)
    detail = excess(sender.tally(), sender.thresholds())
    if after.reputation is not Reputation.GOOD:
        code = INCIDENTS[after.reputation]
        alarm = Incident(code, sender.from_email, detail)
        await raise_incidents(tx, sender.tenant_id, [alarm])
    if after.reputation is Reputation.STOPPED:
        hold = SetHold("sender", sender.sender_id, "reputation_stopped", detail=detail)
        await open_holds(tx, sender.tenant_id, [hold])
    _log.warning(
        "a sender's reputation changed",
        tenant_id=str(sender.tenant_id),
        sender_id=str(sender.sender_id),
        before=sender.reputation,
        after=after.reputation.value,
        **detail,
    )
    return True


async def forgive(
    db: Database, tenant_id: UUID, email: str, *, actor: str, reason: str | None = None
) -> Reputation:
    """Count the sender's bounces and complaints from now on; raises NotFound.

    It sends at full speed again, until what comes says otherwise.
    """
    async with db.transaction(Role.APP, tenant_id) as tx:
        sender = await sender_store.find_sender(tx, tenant_id, normalize_address(email) or email)
        if sender is None:
            raise NotFound("sender", email)
        await lock_tenant(tx, tenant_id)
        await store.delete_outcomes(tx, tenant_id, sender.id)
        if await store.forgive_sender(tx, tenant_id, sender.id):
            await _let_anew(tx, tenant_id, sender.id, sender.from_email)
            await wake(tx, "send_due", tenant_id=tenant_id)
        await audit.record(
            tx,
            tenant_id,
            actor=actor,
            act="sender_forgiven",
            subject=sender.from_email,
            reason=reason,
        )
    return Reputation.GOOD


async def _let_anew(tx: Tx, tenant_id: UUID, sender_id: UUID, email: str) -> None:
    """The next claim decides about the sender anew; alarms that no longer hold are closed."""
    await close_incidents(tx, tenant_id, email, list(INCIDENTS.values()))
    await store.end_reputation_holds(tx, tenant_id, sender_id)
    await limit_store.unpark_tenant(tx, tenant_id)
