"""Identifiers: time-ordered for what is new, derived for what must be the same twice.

`new_id` is UUIDv7 (RFC 9562 5.7), so that rows made together lie together in an index.
`derived_id` is UUIDv5 of a key: making the same thing again gives the same id, which turns a
primary key into the guard against doing it twice (invariant I1 of the ledger).
"""

from __future__ import annotations

import os
import time
from uuid import UUID, uuid5

NAMESPACE = UUID("6f1d7c2e-0b7a-5c7e-9a53-6d1f0e1f7a11")

_RANDOM_BITS = (1 << 74) - 1


def new_id() -> UUID:
    """A UUIDv7 of this moment."""
    random = int.from_bytes(os.urandom(10), "big") & _RANDOM_BITS
    value = (time.time_ns() // 1_000_000) << 80
    value |= 0x7 << 76 | (random >> 62) << 64 | 0b10 << 62 | (random & ((1 << 62) - 1))
    return UUID(int=value)


def derived_id(*parts: object) -> UUID:
    """The one id of what `parts` name; parts must not contain a line break."""
    return uuid5(NAMESPACE, "\n".join([str(part) for part in parts]))


def dedupe_key(enrollment_id: UUID, node_id: str, visit: int, channel: str = "email") -> str:
    """What makes a message the same message: one step of one enrollment, each visit once."""
    return f"{enrollment_id}:{node_id}:{visit}:{channel}"


def message_id(tenant_id: UUID, key: str) -> UUID:
    """The ledger row's primary key, derived from its dedupe key."""
    return derived_id("message", tenant_id, key)
