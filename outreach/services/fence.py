"""The fence against data loss: runs that may send, what is held, and an operator's last word.

A claim reads two things from the row that it shares anyway: whether a loss is held, and whether
this run of the server was looked at. So a restored, rewound or promoted database sends nothing from
its first moment on. Each worker looks (services/fence_watch); what it finds is written here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from outreach import log
from outreach.core.errors import Invalid, Refused
from outreach.core.fence import Identity
from outreach.db import Database, Role
from outreach.services import audit
from outreach.store import fence as store
from outreach.store.fence import Fence

_log = log.get("fence")


@dataclass(frozen=True, slots=True)
class Status:
    """The fence, and the database behind it."""

    state: str  # open, held, or unproven: nobody has looked at this run yet
    fence: Fence
    present: Identity


async def open_run(db: Database, present: Identity, fence: Fence, because: str) -> None:
    """Let this run send; a failover goes on the record, a plain restart does not."""
    async with db.transaction(Role.OPERATOR) as tx:
        is_news = await store.set_run_if_open(tx, present)
        approved = fence.approved
        if is_news and approved is not None and present.timeline != approved.timeline:
            await audit.record(
                tx,
                None,
                actor="worker",
                act="fence_passed",
                subject="installation",
                reason=because,
                approved=shown(approved),
                present=shown(present),
            )
    if is_news:
        _log.info("fence_open", because=because, timeline=present.timeline)


async def hold(db: Database, reason: str, **detail: object) -> bool:
    """Hold all sending until an operator has approved; whether it was not held before."""
    async with db.transaction(Role.OPERATOR) as tx:
        is_news = await store.set_held_if_open(tx, reason, detail)
        if is_news:
            await audit.record(
                tx,
                None,
                actor="worker",
                act="data_loss_held",
                subject="installation",
                reason=reason,
                **detail,
            )
    if is_news:
        _log.error("sending is held: this database may have forgotten mail", reason=reason)
    return is_news


async def status(db: Database) -> Status:
    """The fence as it stands."""
    async with db.transaction(Role.OPERATOR) as tx:
        present = await store.get_identity(tx)
        fence = await store.get_fence(tx)
    is_known = fence.approved in (None, present)
    state = "held" if fence.held_at is not None else "open" if is_known else "unproven"
    return Status(state, fence, present)


async def approve(db: Database, *, reason: str, actor: str) -> Status:
    """End the hold: this database counts from now on, whatever others remember.

    Claims go on within a second or two, each tenant's hold ending with its first.

    Raises Refused when nothing is held and this run is the one that counts already.
    """
    if not reason.strip():
        raise Invalid.at("$.reason", "An approval needs a reason; it is kept.")
    before = await status(db)
    if before.state == "open":
        raise Refused("nothing_held", "Nothing is held: this database is the approved one.")
    async with db.transaction(Role.OPERATOR) as tx:
        await store.approve(tx, before.present)
        await audit.record(
            tx,
            None,
            actor=actor,
            act="fence_approved",
            subject="installation",
            reason=reason,
            held_for=before.fence.reason,
            present=shown(before.present),
        )
    return await status(db)


async def expect_failover(db: Database, *, seconds: float, actor: str) -> datetime:
    """Believe a promotion for so long, unless a worker misses something; until when."""
    async with db.transaction(Role.OPERATOR) as tx:
        until = await store.expect_failover(tx, seconds=seconds)
        await audit.record(
            tx,
            None,
            actor=actor,
            act="failover_expected",
            subject="installation",
            until=until.isoformat(),
        )
    return until


def shown(identity: Identity) -> dict[str, object]:
    """For the record; as text, since a system's number is longer than JSON's are read."""
    return {name: str(value) for name, value in asdict(identity).items()}
