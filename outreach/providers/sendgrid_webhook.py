"""Whether a webhook's body is SendGrid's: its signature, and nothing of its content.

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
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from outreach.core.errors import Invalid, Problem

SIGNATURE_HEADER = "x-twilio-email-event-webhook-signature"
TIMESTAMP_HEADER = "x-twilio-email-event-webhook-timestamp"

_SECONDS = re.compile(r"[0-9]{1,11}", re.ASCII)
_ALGORITHM = ec.ECDSA(Prehashed(hashes.SHA256()))


class WebhookVerifier:
    """Says when a body was signed, under any of several keys (rotation)."""

    def __init__(self, keys: Sequence[str], *, path: str = "SENDGRID_WEBHOOK_PUBLIC_KEY") -> None:
        """Each key is PEM or base64 DER; raises Invalid that names each one that is neither."""
        self._keys: list[ec.EllipticCurvePublicKey] = []
        problems = []
        for number, text in enumerate(keys, 1):
            try:
                self._keys.append(_load(text))
            except (ValueError, UnsupportedAlgorithm) as error:
                problems.append(Problem(path, f"key {number} is no P-256 public key: {error}"))
        if problems:
            raise Invalid(problems)

    def signed_at(self, headers: Mapping[str, str], body: bytes) -> datetime | None:
        """When the holder of one of the keys signed it, or None if none did; how old is not judged.

        `headers` has lower-case names or ignores case.
        """
        stream = self.stream(headers)
        if stream is None:
            return None
        stream.feed(body)
        return stream.signed_at()

    def stream(self, headers: Mapping[str, str]) -> SignedStream | None:
        """The same for a body that comes in pieces; None where the headers cannot sign any."""
        timestamp = headers.get(TIMESTAMP_HEADER, "")
        if not _SECONDS.fullmatch(timestamp):
            return None
        try:
            signature = base64.b64decode(headers.get(SIGNATURE_HEADER, ""), validate=True)
        except (binascii.Error, ValueError):
            return None
        return SignedStream(self._keys, timestamp, signature)


class SignedStream:
    """One body that is being read."""

    def __init__(
        self, keys: Sequence[ec.EllipticCurvePublicKey], timestamp: str, signature: bytes
    ) -> None:
        self._keys = keys
        self._timestamp = timestamp
        self._signature = signature
        self._digest = hashlib.sha256(timestamp.encode("ascii"))

    def feed(self, piece: bytes) -> None:
        """The next bytes of the body."""
        self._digest.update(piece)

    def signed_at(self) -> datetime | None:
        """When all that was fed was signed, or None if no key's holder did."""
        digest = self._digest.digest()
        if not any(_is_signed(key, self._signature, digest) for key in self._keys):
            return None
        return datetime.fromtimestamp(int(self._timestamp), UTC)


def _load(text: str) -> ec.EllipticCurvePublicKey:
    if "-----BEGIN" in text:
        key = load_pem_public_key(text.encode("ascii"))
    else:
        key = load_der_public_key(base64.b64decode("".join(text.split()), validate=True))
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("it is a key of another kind")
    return key


def _is_signed(key: ec.EllipticCurvePublicKey, signature: bytes, digest: bytes) -> bool:
    try:
        key.verify(signature, digest, _ALGORITHM)
    except InvalidSignature:
        return False
    return True
