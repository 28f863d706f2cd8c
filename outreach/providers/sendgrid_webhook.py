"""Whether a webhook's body is SendGrid's: its signature and its age, and nothing of its content.

The signature is ECDSA over P-256 with SHA-256, of the timestamp header's bytes followed by the raw
body's. Decoding is strict where the vendor's own helper is lax, and whatever is malformed is a no,
never an error. The signature is no key against replays (a second one for the same body is easily
made from it); that is the deliveries' hash and the events' ids.

Source: Twilio SendGrid, "Event Webhook Security Features" (headers, message, key format).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from outreach.core.errors import Invalid, Problem

SIGNATURE_HEADER = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP_HEADER = "X-Twilio-Email-Event-Webhook-Timestamp"

# A clock may be a little ahead of ours; an hour ahead is no clock of SendGrid's.
AHEAD_MAX = timedelta(seconds=300)

PublicKey = ec.EllipticCurvePublicKey

_SECONDS = re.compile(r"[0-9]{1,11}", re.ASCII)
_ALGORITHM = ec.ECDSA(Prehashed(hashes.SHA256()))


def load_public_keys(
    texts: Sequence[str], *, path: str = "SENDGRID_WEBHOOK_PUBLIC_KEY"
) -> tuple[PublicKey, ...]:
    """The keys, each PEM or base64 DER; raises Invalid that names each one that is neither."""
    keys, problems = [], []
    for number, text in enumerate(texts, 1):
        try:
            keys.append(_load(text))
        except (ValueError, UnsupportedAlgorithm) as error:
            problems.append(Problem(path, f"key {number} is no P-256 public key: {error}"))
    if problems:
        raise Invalid(problems)
    return tuple(keys)


def signed_at(
    keys: Sequence[PublicKey], signature: str, timestamp: str, body: bytes
) -> datetime | None:
    """When the body was signed by the holder of one of the keys, or None if by none of them."""
    if not _SECONDS.fullmatch(timestamp):
        return None
    try:
        der = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return None
    digest = hashlib.sha256(timestamp.encode("ascii"))
    digest.update(body)
    if not any(_is_signed(key, der, digest.digest()) for key in keys):
        return None
    return datetime.fromtimestamp(int(timestamp), UTC)


def is_timely(at: datetime, now: datetime, tolerance_seconds: float) -> bool:
    """Whether it was signed within the tolerance; SendGrid retries for a day, a forger for ever."""
    return -AHEAD_MAX <= now - at <= timedelta(seconds=tolerance_seconds)


def _load(text: str) -> PublicKey:
    if "-----BEGIN" in text:
        key = load_pem_public_key(text.encode("ascii"))
    else:
        key = load_der_public_key(base64.b64decode("".join(text.split()), validate=True))
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("it is a key of another kind")
    return key


def _is_signed(key: PublicKey, signature: bytes, digest: bytes) -> bool:
    try:
        key.verify(signature, digest, _ALGORITHM)
    except InvalidSignature:
        return False
    return True
