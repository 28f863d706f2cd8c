"""Email addresses in the two forms that everything else compares.

*Normal form* is what is stored and shown: trimmed, the domain in lower case and IDNA's ASCII form,
the local part as given. The *key* is the normal form in lower case and is what uniqueness and
suppression compare: RFC 5321 lets a server tell `Ann@` from `ann@`, none that matters does, and
writing to `ann@` after `Ann@` has unsubscribed is the graver mistake.
"""

from __future__ import annotations

import re
import unicodedata

import idna

from outreach.core.errors import Invalid

ADDRESS_LENGTH_MAX = 254  # RFC 5321 4.5.3.1.3, less the angle brackets
# Marks that nobody sees would make two addresses of one.
_LOCAL = re.compile(
    r"[^\s@<>,;:\"\\()\[\]\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]{1,64}"
)
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def normalize_domain(text: str) -> str | None:
    """The domain in lower-case ASCII, or None when it cannot be one that receives mail."""
    domain = text.strip().rstrip(".").lower()
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode("ascii")
        except idna.IDNAError:
            return None
    labels = domain.split(".")
    if len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    if labels[-1].isdigit():
        return None
    return domain


def normalize_address(text: str) -> str | None:
    """The normal form, or None when `text` is not an address that we would write to."""
    local, at, host = unicodedata.normalize("NFC", text).strip().rpartition("@")
    if (
        not at
        or not _LOCAL.fullmatch(local)
        or ".." in local
        or local[0] == "."
        or local[-1] == "."
    ):
        return None
    domain = normalize_domain(host)
    if domain is None:
        return None
    address = f"{local}@{domain}"
    return address if len(address) <= ADDRESS_LENGTH_MAX else None


def address_key(address: str) -> str:
    """What two spellings of one mailbox have in common; the SQL twin is `lower(email)`."""
    return address.lower()


def domain_of(address: str) -> str:
    """The part after the @ of a normal form."""
    return address.rpartition("@")[2]


def normalize_suppression(text: str) -> str:
    """The normal form of an address or, written `@example.com`, of a domain."""
    text = text.strip()
    if text.startswith("@"):
        domain = normalize_domain(text[1:])
        normal = None if domain is None else f"@{domain}"
    else:
        normal = normalize_address(text)
    if normal is None:
        raise Invalid.at("$.value", f"{text!r} is neither an address nor an @domain.")
    return normal
