"""Plain text as HTML, and the checks on HTML that a template's author wrote.

The HTML part of a mail says what its text part says: paragraphs, line breaks, links. Every other
character is escaped, so that nothing a contact's record holds can become markup.

Source: WHATWG HTML (escaping text and quoted attributes); RFC 3986 for the scheme of a link.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape, unescape
from html.parser import HTMLParser

LINK_SCHEMES = frozenset({"http", "https", "mailto", "tel", "cid"})

_URL = re.compile(r"(https?://[^\s<>\"'`\\{}|^]+)", re.IGNORECASE)
_TRAILING = re.compile(r"[.,;:!?*_)\]]+\Z")
_BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
_LINK_ATTRIBUTES = frozenset({"href", "src", "background", "poster", "srcset", "action"})
_LINK = re.compile(
    r"\b(?:href|src|background|poster|srcset|action)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>\"']+))",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_INVISIBLE = re.compile(r"[\x00-\x20\x7f]")
_FORBIDDEN_TAGS = {"script", "iframe", "frame", "object", "embed", "applet", "form", "input"}
_FORBIDDEN_TAGS |= {"button", "base", "link", "meta", "svg", "math"}
_LIQUID_OUTPUT = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_LIQUID_TAG = re.compile(r"\{%.*?%\}", re.DOTALL)
_UNQUOTED = re.compile(r"=\s*[^\s\"'>]*\{[{%]")
_TAG = re.compile(r"<[a-zA-Z](?:\{\{.*?\}\}|\{%.*?%\}|\"[^\"]*\"|'[^']*'|[^>\"'])*>", re.DOTALL)
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")


def text_to_html(text: str) -> str:
    """Paragraphs of escaped text with its http and https links made clickable."""
    blocks = (block.strip("\n") for block in _BLANK_LINES.split(text.strip("\n")))
    return "\n".join(f"<p>{_inline(block)}</p>" for block in blocks if block.strip())


def link(url: str, label: str | None = None) -> str:
    """An anchor to an http or https address."""
    assert url.lower().startswith(("http://", "https://")), "only web links are made"
    return f'<a href="{escape(url)}">{escape(label or url)}</a>'


def _inline(text: str) -> str:
    if "://" not in text:
        return escape(text).replace("\n", "<br>\n")
    parts: list[str] = []
    for index, part in enumerate(_URL.split(text)):
        if index % 2 == 0:
            parts.append(escape(part))
            continue
        end = _url_end(part)
        parts.append(link(part[:end]) if end > len("https://") else escape(part[:end]))
        parts.append(escape(part[end:]))
    return "".join(parts).replace("\n", "<br>\n")


def _url_end(url: str) -> int:
    """Where the address ends: a full stop or a closing bracket after it belongs to the sentence."""
    found = _TRAILING.search(url)
    if found is None:
        return len(url)
    closes = ")" in found[0] and url.count("(") >= url.count(")")
    return url.rindex(")") + 1 if closes else found.start()


def document(body: str, footer: str) -> str:
    """A whole page with the footer at its end; a page that is whole already keeps its own frame."""
    lower = body.lower()
    end = lower.rfind("</body")
    if end >= 0:
        return f"{body[:end]}{footer}\n{body[end:]}"
    if "<html" in lower:
        return f"{body}\n{footer}"
    return (
        '<!DOCTYPE html>\n<html><head><meta charset="utf-8"></head><body>\n'
        f"{body}\n{footer}\n</body></html>\n"
    )


def unsafe_link(html: str) -> str | None:
    """The first address in the HTML that a mail must not carry, such as `javascript:…`."""
    for match in _LINK.finditer(html):
        address = match[1] or match[2] or match[3] or ""
        if not _is_safe(address):
            return address[:100]
    return None


def _is_safe(address: str) -> bool:
    scheme = _SCHEME.match(_INVISIBLE.sub("", unescape(address)))
    return scheme is None or scheme[1].lower() in LINK_SCHEMES


def html_problems(source: str) -> Iterator[str]:
    """What is wrong with HTML that a plan brings, each as a sentence."""
    for tag in _TAG.finditer(source):
        if _UNQUOTED.search(_QUOTED.sub('""', tag[0])):
            yield "A value inside an attribute must stand in quotes."
            break
    checker = _Checker()
    checker.feed(_LIQUID_TAG.sub("", _LIQUID_OUTPUT.sub("value", source)))
    checker.close()
    yield from dict.fromkeys(checker.messages)


class _Checker(HTMLParser):
    """Collects what no mail should hold: programs, forms, frames, links that run something."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _FORBIDDEN_TAGS:
            self.messages.append(f"<{tag}> is not allowed in a mail.")
        for name, value in attrs:
            if name.startswith("on"):
                self.messages.append(f"The attribute {name} is not allowed in a mail.")
            if name in _LINK_ATTRIBUTES and not _is_safe(value or ""):
                self.messages.append(
                    f"{name} must be a web, mail or telephone link, not {(value or '')[:60]!r}."
                )
