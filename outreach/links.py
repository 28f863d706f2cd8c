"""The unsubscribe link of a message: signed, unguessable, valid for ever.

A token names the tenant and the message and nothing of the person, so it still says who wants out
when the contact is gone. Keys rotate: the newest signs, all of them verify.

Source: RFC 8058 (one-click unsubscribe) 3.1: the link itself must identify the recipient, and be
hard to forge.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from functools import lru_cache
from uuid import UUID

from itsdangerous import BadData, Signer
from itsdangerous.encoding import base64_decode, base64_encode

SALT = b"outreach.unsubscribe"
TOKEN_LENGTH = 43 + 1 + 43  # two UUIDs, a dot, a SHA-256


def unsubscribe_url(
    public_url: str, secret_keys: Sequence[str], tenant_id: UUID, message_id: UUID
) -> str:
    """The link for this message; `secret_keys` has the newest first."""
    assert secret_keys, "links are signed: there must be a key"
    payload = base64_encode(tenant_id.bytes + message_id.bytes)
    return f"{public_url}/u/{_signer(tuple(secret_keys)).sign(payload).decode('ascii')}"


def read_unsubscribe_token(token: str, secret_keys: Sequence[str]) -> tuple[UUID, UUID] | None:
    """The tenant and the message, or None for whatever we did not sign exactly so."""
    if len(token) != TOKEN_LENGTH or not token.isascii() or not secret_keys:
        return None
    try:
        payload = base64_decode(_signer(tuple(secret_keys)).unsign(token))
        signature = base64_decode(token[-43:])
    except BadData:
        return None
    # The last character carries two bits that mean nothing; only one spelling is ours.
    if base64_encode(signature) != token[-43:].encode("ascii"):
        return None
    return UUID(bytes=payload[:16]), UUID(bytes=payload[16:])


@lru_cache(maxsize=8)
def _signer(secret_keys: tuple[str, ...]) -> Signer:
    """The newest key is the library's last; keys are derived once, not with each link."""
    derived = [hmac.digest(key.encode(), SALT, "sha256") for key in reversed(secret_keys)]
    return Signer(derived, key_derivation="none", digest_method=hashlib.sha256)
