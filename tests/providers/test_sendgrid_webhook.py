from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from outreach.core.errors import Invalid
from outreach.providers.sendgrid_webhook import (
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    WebhookVerifier,
)

# Published by the vendor with its own library, and changes made to those.
VECTORS: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("sendgrid_signatures.json").read_text("utf-8")
)

KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
BODY = b'[{"event":"open"},\r\n{"event":"click"}]\r\n'
AT = "1764000000"


def der(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    info = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(info).decode()


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    info = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return info.decode()


def sign(key: ec.EllipticCurvePrivateKey, timestamp: str = AT, body: bytes = BODY) -> str:
    signature = key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    return base64.b64encode(signature).decode()


KEYS = WebhookVerifier([der(KEY)])


def signed_at(
    verifier: WebhookVerifier, signature: str, timestamp: str, body: bytes
) -> datetime | None:
    headers = {SIGNATURE_HEADER: signature, TIMESTAMP_HEADER: timestamp}
    return verifier.signed_at(headers, body)


@pytest.mark.parametrize("vector", VECTORS, ids=[str(vector["name"]) for vector in VECTORS])
def test_the_published_vectors(vector: dict[str, Any]) -> None:
    keys = WebhookVerifier([vector["public_key"]])
    body = base64.b64decode(vector["payload_base64"])
    at = signed_at(keys, vector["signature"], vector["timestamp"], body)
    expected = datetime.fromtimestamp(int(vector["timestamp"]), UTC) if vector["is_valid"] else None
    assert at == expected


@pytest.mark.parametrize(
    "text", [der(KEY), pem(KEY), f" {der(KEY)}\n"], ids=["der", "pem", "space"]
)
def test_a_key_may_be_written_in_several_ways(text: str) -> None:
    at = signed_at(WebhookVerifier([text]), sign(KEY), AT, BODY)
    assert at == datetime(2025, 11, 24, 16, 0, tzinfo=UTC)


def test_during_a_rotation_the_old_and_the_new_key_hold() -> None:
    keys = WebhookVerifier([der(KEY), pem(OTHER)])
    assert signed_at(keys, sign(KEY), AT, BODY)
    assert signed_at(keys, sign(OTHER), AT, BODY)
    assert signed_at(KEYS, sign(OTHER), AT, BODY) is None
    assert signed_at(WebhookVerifier([]), sign(KEY), AT, BODY) is None


def test_every_bad_key_is_named() -> None:
    other_curve = der(ec.generate_private_key(ec.SECP384R1()))
    other_kind = der(ed25519.Ed25519PrivateKey.generate())
    bad = ["nonsense", other_curve, other_kind, "-----BEGIN PUBLIC KEY-----\nAAAA", "ключ", ""]
    with pytest.raises(Invalid) as caught:
        WebhookVerifier([der(KEY), *bad])
    messages = [problem.message for problem in caught.value.problems]
    assert [message.split(" is no ")[0] for message in messages] == [
        f"key {n}" for n in range(2, 8)
    ]


@pytest.mark.parametrize(
    "timestamp", ["", "-1", "+1", " 1764000000", "1764000000.0", "1_0", "1e9", "٣", "9" * 12]
)
def test_a_timestamp_is_digits_even_when_it_is_signed(timestamp: str) -> None:
    assert signed_at(KEYS, sign(KEY, timestamp), timestamp, BODY) is None


def test_the_signature_is_strict_base64_of_a_der_pair() -> None:
    good = sign(KEY)
    raw = base64.b64decode(good)
    r, s = decode_dss_signature(raw)
    pair = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    negative = encode_dss_signature(r, 2**256 - s)
    bad = [
        "",
        good + "x",
        good + "\n",
        " " + good,
        good[:-8],
        good.rstrip("="),
        base64.b64encode(raw + b"\0").decode(),
        base64.b64encode(pair).decode(),
        base64.b64encode(negative).decode(),
        "подпись",
    ]
    if not good.endswith("="):
        bad.remove(good)
    assert signed_at(KEYS, good, AT, BODY)
    for signature in bad:
        assert signed_at(KEYS, signature, AT, BODY) is None, signature


def test_every_byte_of_the_body_counts() -> None:
    signature = sign(KEY)
    for body in (BODY[:-2], BODY + b" ", BODY.replace(b"\r\n", b"\n"), b""):
        assert signed_at(KEYS, signature, AT, body) is None
    assert signed_at(KEYS, sign(KEY, body=b""), AT, b"")


@given(st.text(max_size=100), st.text(max_size=20), st.binary(max_size=100))
def test_nothing_that_arrives_is_an_error(signature: str, timestamp: str, body: bytes) -> None:
    assert signed_at(KEYS, signature, timestamp, body) is None


def test_missing_headers_are_no_signature() -> None:
    assert KEYS.signed_at({}, BODY) is None
    assert KEYS.signed_at({TIMESTAMP_HEADER: AT}, BODY) is None
    assert KEYS.signed_at({SIGNATURE_HEADER: sign(KEY)}, BODY) is None
