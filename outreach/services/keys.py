"""Keys of the HTTP API: made, shown once, and stored as a hash.

`ok_live_<id>_<secret>` is a tenant's, `ok_op_<id>_<secret>` an operator's. The id finds the row.
The secret has 256 random bits, so its plain SHA-256 is as good as a slow hash of a password.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from outreach.core.errors import Invalid, NotFound
from outreach.db import Database, Role
from outreach.ids import new_id
from outreach.services import audit
from outreach.store import keys as store
from outreach.store.keys import Key

SECRET_BYTES = 32
TENANT_SCOPES = ("read", "write", "admin")
OPERATOR_SCOPE = "operator"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key in the only moment in which it is known."""

    id: UUID
    key: str
    scopes: tuple[str, ...]


def hash_of(secret: str) -> bytes:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).digest()


async def create_for_tenant(
    db: Database, tenant_id: UUID, scopes: Sequence[str], *, actor: str
) -> NewKey:
    """A key that opens this tenant's things as far as its scopes go."""
    unknown = [scope for scope in scopes if scope not in TENANT_SCOPES]
    if unknown or not scopes:
        known = ", ".join(TENANT_SCOPES)
        raise Invalid.at("$.scopes", f"{', '.join(unknown) or 'nothing'}: choose from {known}.")
    return await _create(db, tenant_id, "ok_live", sorted(set(scopes)), actor=actor)


async def create_for_operator(db: Database, *, actor: str) -> NewKey:
    """A key that opens everything of the installation."""
    return await _create(db, None, "ok_op", [OPERATOR_SCOPE], actor=actor)


async def list_page(db: Database, tenant_id: UUID | None, *, rows_max: int = 200) -> list[Key]:
    """The newest keys of a tenant, or (None) the operators'."""
    async with db.transaction(Role.OPERATOR) as tx:
        return await store.list_keys(tx, tenant_id, rows_max=rows_max)


async def revoke(db: Database, key_id: UUID, *, actor: str, reason: str | None = None) -> Key:
    """From the commit on the key opens nothing; raises NotFound for one that opened nothing."""
    async with db.transaction(Role.OPERATOR) as tx:
        key = await store.set_key_revoked_if_valid(tx, key_id)
        if key is None:
            raise NotFound("valid key", key_id)
        await audit.record(
            tx, key.tenant_id, actor=actor, act="key_revoked", subject=str(key_id), reason=reason
        )
        return key


async def _create(
    db: Database, tenant_id: UUID | None, prefix: str, scopes: Sequence[str], *, actor: str
) -> NewKey:
    key_id, secret = new_id(), secrets.token_urlsafe(SECRET_BYTES)
    async with db.transaction(Role.OPERATOR) as tx:
        await store.insert_key(
            tx, id=key_id, tenant_id=tenant_id, secret_hash=hash_of(secret), scopes=scopes
        )
        await audit.record(
            tx,
            tenant_id,
            actor=actor,
            act="key_created",
            subject=str(key_id),
            scopes=list(scopes),
        )
    return NewKey(key_id, f"{prefix}_{key_id.hex}_{secret}", tuple(scopes))
