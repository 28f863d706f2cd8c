"""Sender identities: nothing is sent from one that nobody vouches for.

The provider does, when asked, or an operator by force, under the operator's name. A pause updates
the identity's row, which a claim shares, so that nothing is armed for it after the commit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from outreach.core.address import normalize_address
from outreach.core.errors import Conflict, Invalid, NotFound, Problem
from outreach.db import Database, Role, lock_tenant
from outreach.services import audit
from outreach.services.launch import wake_senders
from outreach.sql import Tx
from outreach.store import pauses
from outreach.store import senders as store
from outreach.store.holds import SetHold, open_holds
from outreach.store.senders import Sender

NAME_LENGTH_MAX = 200
BY_PROVIDER = "provider"
UNVERIFIED_HOLD = "sender_unverified"
PAUSED_HOLD = "sender_paused"


class SenderVerifier(Protocol):
    """A provider's word on sender identities."""

    async def is_verified(self, email: str) -> bool:
        """Whether the provider sends mail from this address.

        Raises Unavailable when it does not answer, Refused when it does not let us ask.
        """
        ...


@dataclass(frozen=True, slots=True)
class NewSender:
    """What an identity is made of; replies go to `reply_to` or to itself."""

    email: str
    name: str
    reply_to: str | None = None

    def normal(self) -> NewSender:
        """With its addresses in normal form; raises Invalid with every problem."""
        problems = []
        email = normalize_address(self.email)
        if email is None:
            problems.append(Problem("$.email", f"{self.email!r} is not an address."))
        elif not email.isascii():
            problems.append(Problem("$.email", "The part before the @ must be plain ASCII."))
        name = self.name.strip()
        if not name or len(name) > NAME_LENGTH_MAX or not name.isprintable():
            problems.append(Problem("$.name", f"must be 1 to {NAME_LENGTH_MAX} characters."))
        reply_to = None if self.reply_to is None else normalize_address(self.reply_to)
        if self.reply_to is not None and reply_to is None:
            problems.append(Problem("$.reply_to", f"{self.reply_to!r} is not an address."))
        if problems or email is None:
            raise Invalid(problems)
        return NewSender(email, name, reply_to)


async def add(db: Database, tenant_id: UUID, new: NewSender, *, actor: str) -> Sender:
    """The identity, unverified when it is new; the same again changes nothing.

    Raises Invalid, and Conflict where the address is there with another name or reply address.
    """
    wanted = new.normal()
    async with db.transaction(Role.APP, tenant_id) as tx:
        is_new = await store.insert_sender(
            tx,
            tenant_id,
            from_email=wanted.email,
            from_name=wanted.name,
            reply_to=wanted.reply_to,
        )
        sender = await _get(tx, tenant_id, wanted.email)
        if is_new:
            await audit.record(
                tx, tenant_id, actor=actor, act="sender_added", subject=sender.from_email
            )
        elif (sender.from_name, sender.reply_to) != (wanted.name, wanted.reply_to):
            raise Conflict(
                "sender",
                sender.from_email,
                expected="absent, or there with the same name and reply address",
                actual=f"there as {sender.from_name!r}",
            )
        return sender


async def verify(
    db: Database, tenant_id: UUID, email: str, verifier: SenderVerifier, *, actor: str
) -> Sender:
    """Ask the provider, and hold the identity to its word: verified, or not (any more)."""
    async with db.transaction(Role.APP, tenant_id) as tx:
        sender = await _get(tx, tenant_id, email)
    is_verified = await verifier.is_verified(sender.from_email)
    async with db.transaction(Role.APP, tenant_id) as tx:
        if is_verified:
            return await _vouch(tx, tenant_id, sender, by=BY_PROVIDER, actor=actor)
        if await store.set_sender_unverified(tx, tenant_id, sender.id):
            await audit.record(
                tx, tenant_id, actor=actor, act="sender_unverified", subject=sender.from_email
            )
        return await _get(tx, tenant_id, sender.from_email)


async def force_verified(
    db: Database, tenant_id: UUID, email: str, *, actor: str, reason: str | None = None
) -> Sender:
    """An operator vouches for it without asking the provider, on record under that name."""
    async with db.transaction(Role.APP, tenant_id) as tx:
        sender = await _get(tx, tenant_id, email)
        return await _vouch(tx, tenant_id, sender, by=actor, actor=actor, reason=reason)


async def pause(db: Database, tenant_id: UUID, email: str, *, reason: str, actor: str) -> Sender:
    """Nothing is sent from it, from the commit on; a second pause keeps the first one's reason.

    A pause by the provider becomes this person's: verifying does not end it. Raises Invalid without
    a reason, NotFound.
    """
    audit.require_reason(reason)
    async with db.transaction(Role.APP, tenant_id) as tx:
        await lock_tenant(tx, tenant_id)
        sender = await _get(tx, tenant_id, email)
        if await store.set_sender_paused_if_running(
            tx, tenant_id, sender.id, actor=actor, reason=reason
        ):
            await _end_pause_hold(tx, tenant_id, sender)
            detail = {"sender": sender.from_email, "who": actor, "reason": reason}
            hold = SetHold("sender", sender.id, PAUSED_HOLD, detail=detail)
            await open_holds(tx, tenant_id, [hold])
            await audit.record(
                tx,
                tenant_id,
                actor=actor,
                act="sender_paused",
                subject=sender.from_email,
                reason=reason,
            )
        return await _get(tx, tenant_id, sender.from_email)


async def resume(
    db: Database, tenant_id: UUID, email: str, *, actor: str, reason: str | None = None
) -> Sender:
    """End its pause, by whomever; one that runs stays as it is. Raises NotFound.

    What waited goes out within the limits, and the provider, if it still refuses, pauses it again.
    """
    async with db.transaction(Role.APP, tenant_id) as tx:
        await lock_tenant(tx, tenant_id)
        sender = await _get(tx, tenant_id, email)
        if await store.set_sender_resumed_if_paused(tx, tenant_id, sender.id):
            await _end_pause_hold(tx, tenant_id, sender)
            await audit.record(
                tx,
                tenant_id,
                actor=actor,
                act="sender_resumed",
                subject=sender.from_email,
                reason=reason,
            )
            await wake_senders(tx, tenant_id)
        return await _get(tx, tenant_id, sender.from_email)


async def list_all(db: Database, tenant_id: UUID, *, rows_max: int = 1_000) -> list[Sender]:
    """The tenant's identities by address."""
    async with db.transaction(Role.APP, tenant_id) as tx:
        return await store.list_senders(tx, tenant_id, rows_max=rows_max)


async def _end_pause_hold(tx: Tx, tenant_id: UUID, sender: Sender) -> None:
    await pauses.end_holds(
        tx, tenant_id, scope="sender", subject_id=sender.id, reasons=[PAUSED_HOLD]
    )


async def _vouch(
    tx: Tx, tenant_id: UUID, sender: Sender, *, by: str, actor: str, reason: str | None = None
) -> Sender:
    """Verified from the commit on, with what waited for it due again."""
    await lock_tenant(tx, tenant_id)
    await store.set_sender_verified(tx, tenant_id, sender.id, by=by)
    verified = await _get(tx, tenant_id, sender.from_email)
    over = [UNVERIFIED_HOLD] if verified.paused_at else [UNVERIFIED_HOLD, PAUSED_HOLD]
    await pauses.end_holds(tx, tenant_id, scope="sender", subject_id=sender.id, reasons=over)
    await audit.record(
        tx,
        tenant_id,
        actor=actor,
        act="sender_verified" if by == BY_PROVIDER else "sender_verified_by_force",
        subject=sender.from_email,
        reason=reason,
    )
    await wake_senders(tx, tenant_id)
    return verified


async def _get(tx: Tx, tenant_id: UUID, email: str) -> Sender:
    sender = await store.find_sender(tx, tenant_id, normalize_address(email) or email)
    if sender is None:
        raise NotFound("sender", email)
    return sender
