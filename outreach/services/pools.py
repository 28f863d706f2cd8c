"""By which IP pool a sender sends. A pool comes into being with its first sender."""

from __future__ import annotations

from uuid import UUID

from outreach.core.address import normalize_address
from outreach.core.errors import Invalid, NotFound
from outreach.db import Database, Role, lock_tenant
from outreach.services import audit
from outreach.services.limits import look_again
from outreach.store import pools as store
from outreach.store import senders as sender_store

# The provider's own bounds of a pool's name.
NAME_LENGTH_MIN, NAME_LENGTH_MAX = 2, 64


async def assign(
    db: Database, tenant_id: UUID, email: str, name: str | None, *, actor: str
) -> str | None:
    """Have the sender send by a pool, or by none, from the commit on; raises Invalid, NotFound.

    Waits for a claim, so that each mail counts in the pool by which it leaves.
    """
    wanted = None if name is None else name.strip()
    if wanted is not None and not _is_name(wanted):
        sentence = f"A pool's name has {NAME_LENGTH_MIN} to {NAME_LENGTH_MAX} printable characters."
        raise Invalid.at("$.pool", sentence)
    async with db.transaction(Role.APP, tenant_id) as tx:
        sender = await sender_store.find_sender(tx, tenant_id, normalize_address(email) or email)
        if sender is None:
            raise NotFound("sender", email)
        await lock_tenant(tx, tenant_id)
        if await store.set_sender_pool(tx, tenant_id, sender.id, wanted):
            await audit.record(
                tx,
                tenant_id,
                actor=actor,
                act="sender_pool_set",
                subject=sender.from_email,
                pool=wanted,
            )
            await look_again(tx, tenant_id)
    return wanted


def _is_name(name: str) -> bool:
    return NAME_LENGTH_MIN <= len(name) <= NAME_LENGTH_MAX and name.isprintable()
