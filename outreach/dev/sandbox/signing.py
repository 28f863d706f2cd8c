"""Signs webhook posts as SendGrid does: ECDSA P-256 with SHA-256 over timestamp and raw body.

The key pair is derived from the seed, so whoever knows the seed knows the public key before the
sandbox runs. It protects nothing, and is meant to.

Source: Twilio SendGrid, "Event Webhook Security Features" (headers, message, key format).
"""

import base64
import hashlib
from enum import StrEnum

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SIGNATURE_HEADER = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP_HEADER = "X-Twilio-Email-Event-Webhook-Timestamp"

# The order of the group of P-256 (FIPS 186-4, D.1.2.3): a private key lies below it.
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Signing(StrEnum):
    """How a post is signed: truly, with a stranger's key, or not at all."""

    TRUE = "true"
    FORGED = "forged"
    NONE = "none"


class SigningKey:
    """One key pair; the same seed always gives the same pair."""

    def __init__(self, seed: int) -> None:
        digest = hashlib.sha512(f"outreach sandbox {seed}".encode()).digest()
        secret = int.from_bytes(digest, "big") % (_ORDER - 1) + 1
        self._private = ec.derive_private_key(secret, ec.SECP256R1())

    @property
    def public_key(self) -> str:
        """The public key as one line of base64 DER, as SendGrid's settings show it."""
        der = self._private.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        return base64.b64encode(der).decode()

    def headers(self, body: bytes, timestamp: str) -> dict[str, str]:
        """The two headers that vouch for this body at this Unix second."""
        signature = self._private.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        return {
            SIGNATURE_HEADER: base64.b64encode(signature).decode(),
            TIMESTAMP_HEADER: timestamp,
        }


def public_key_of(seed: int) -> str:
    """The public key that a sandbox of this seed will print."""
    return SigningKey(seed).public_key
