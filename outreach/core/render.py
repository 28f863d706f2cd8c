"""One mail out of a plan's templates and one contact's values: subject, text part, HTML part.

Both parts end with the footer that the law asks for. Nothing is guessed: a value that is missing
raises MissingValue, a template that cannot be filled raises RenderProblem, and no mail goes out.

Source: RFC 5322 2.1.1 and 2.2 for the subject; CAN-SPAM 16 CFR 316 for address and opt-out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from uuid import UUID

from outreach.core.html import document, link, text_to_html, unsafe_link
from outreach.core.plan_model import Node, Variant
from outreach.core.template import KNOWN_FIELDS, MissingValue, RenderProblem, fill
from outreach.core.template_problems import template_problems

__all__ = [
    "KNOWN_FIELDS",
    "Footer",
    "MissingValue",
    "RenderProblem",
    "Rendered",
    "choose_variant",
    "render",
    "template_problems",
]

SUBJECT_RENDERED_MAX = 900  # a header line holds 998 octets; the rest is its name and encoding

_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(slots=True)  # frozen takes ten times as long to make
class Footer:
    """What stands under every mail; `consent` says why the contact is written to."""

    postal_address: str
    unsubscribe_url: str
    consent: str | None = None


@dataclass(slots=True)  # frozen takes ten times as long to make
class Rendered:
    """A mail's words, ready for the provider."""

    subject: str
    text: str
    html: str


def render(
    subject: str,
    body: str,
    body_html: str | None,
    fields: Mapping[str, object],
    footer: Footer,
) -> Rendered:
    """The mail for these values; the same arguments always give the same mail."""
    values = {**fields, "unsubscribe_url": footer.unsubscribe_url}
    text = _clean(fill(body, values))
    if not text:
        raise RenderProblem("The body is empty.")
    if body_html is None:
        html = text_to_html(text)
    else:
        html = fill(body_html, values, escapes=True)
        address = unsafe_link(html)
        if address is not None:
            raise RenderProblem(f"The HTML holds a link that is not allowed: {address!r}.")
    foot_text, foot_html = _footer_parts(footer)
    return Rendered(
        subject=_one_line(fill(subject, values)),
        text=f"{text}\n\n{foot_text}",
        html=document(html, foot_html),
    )


def _one_line(subject: str) -> str:
    """The subject without line breaks or control characters: a value cannot add a header."""
    line = _BREAKS.sub(" ", subject).strip()
    if not line:
        raise RenderProblem("The subject is empty.")
    if len(line) > SUBJECT_RENDERED_MAX:
        raise RenderProblem(f"The subject is longer than {SUBJECT_RENDERED_MAX} characters.")
    return line


def _clean(text: str) -> str:
    """Line feeds only, and no control characters but tabs."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROLS.sub("", text).strip()


@lru_cache(maxsize=64)
def _footer_lines(postal_address: str, consent: str | None) -> tuple[str, str]:
    """The part of a footer that a tenant's mails share, as text and as HTML."""
    lines = [consent, postal_address] if consent else [postal_address]
    text = "\n".join(_clean(line) for line in lines)
    return text, escape(text).replace("\n", "<br>\n")


def _footer_parts(footer: Footer) -> tuple[str, str]:
    text, html = _footer_lines(footer.postal_address, footer.consent)
    url = footer.unsubscribe_url
    return (
        f"-- \n{text}\nUnsubscribe: {url}\n",
        f'<p style="color:#666;font-size:12px">{html}<br>\n{link(url, "Unsubscribe")}</p>',
    )


def choose_variant(node: Node, tenant_id: UUID, enrollment_id: UUID) -> Variant | None:
    """The wording that this enrollment gets at this node, the same at every try; None for one."""
    if not node.variants:
        return None
    seed = f"{tenant_id}:{enrollment_id}:{node.id}".encode()
    ticket = int.from_bytes(hashlib.sha256(seed).digest()[:8]) % sum(
        variant.weight for variant in node.variants
    )
    for variant in node.variants:
        ticket -= variant.weight
        if ticket < 0:
            return variant
    raise AssertionError("a ticket is below the sum of the weights")
