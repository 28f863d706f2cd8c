"""Plain text as HTML, and the checks on HTML that a template's author wrote.

The HTML part of a mail says what its text part says: paragraphs, line breaks, links. Every other
character is escaped, so that nothing a contact's record holds can become markup.

Source: WHATWG HTML (escaping text and quoted attributes); RFC 3986 for the scheme of a link.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape, unescape

LINK_SCHEMES = frozenset({"http", "https", "mailto", "tel", "cid"})

_URL = re.compile(r"(https?://[^\s<>\"'`\\{}|^]+)", re.IGNORECASE)
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
_ATTRIBUTE_SHAPE = r"[^\s=/\"'<>]+(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>]+))?"
_TAG = re.compile(
    rf"</?(?P<name>[a-zA-Z][a-zA-Z0-9:-]*)(?P<attributes>(?:\s+{_ATTRIBUTE_SHAPE})*+)\s*+/?>"
)
_ATTRIBUTE = re.compile(
    r"(?P<name>[^\s=/\"'<>]+)(?:\s*=\s*(?P<value>\"[^\"]*\"|'[^']*'|[^\s\"'<>]+))?"
)
_VALUE = "\ue000"  # stands for what Liquid will put there; a private character that no mail needs


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
    end = len(url.rstrip(".,;:!?*_)]"))
    if url[end : end + 1] == ")" and "(" in url[:end]:
        end += 1
    return end


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
    lower = html.lower()
    for attribute in _LINK_ATTRIBUTES:
        if attribute in lower:
            break
    else:  # most mails have none, and the pattern takes its time
        return None
    for match in _LINK.finditer(html):
        address = match[1] or match[2] or match[3] or ""
        if not _is_safe(address):
            return address[:100]
    return None


def _is_safe(address: str) -> bool:
    scheme = _SCHEME.match(_INVISIBLE.sub("", unescape(address)))
    return scheme is None or scheme[1].lower() in LINK_SCHEMES


def html_problems(source: str) -> Iterator[str]:
    """What is wrong with HTML that a plan brings, each as a sentence, found in one pass.

    It asks for well-formed tags, which browsers do not: what two readers may read differently is
    where a stranger's value becomes markup.
    """
    html = _with_marks(source)
    at = html.find("<")
    while at >= 0:
        if html.startswith("<!", at):
            end = html.find("-->" if html.startswith("<!--", at) else ">", at)
        elif html[at + 1 : at + 2].isalpha() or html[at + 1 : at + 2] in ("/", _VALUE):
            tag = _TAG.match(html, at)
            end = tag.end() if tag else -1
            if tag:
                yield from _tag_problems(tag["name"].lower(), tag["attributes"])
        else:
            end = at + 1
        if end < 0:
            start = html[at : at + 40].replace(_VALUE, "{{…}}")
            yield f"There is no whole tag or comment at {start!r}; close it, and quote its values."
            return
        at = html.find("<", end)


def _tag_problems(tag: str, attributes: str) -> Iterator[str]:
    """Programs, forms, frames, links that run something."""
    if tag in _FORBIDDEN_TAGS:
        yield f"<{tag}> is not allowed in a mail."
    for match in _ATTRIBUTE.finditer(attributes):
        name, value = match["name"].lower(), match["value"] or ""
        if _VALUE in name or (_VALUE in value and value[0] not in "\"'"):
            yield "A value inside a tag must stand in a quoted attribute."
        if name.startswith("on"):
            yield f"The attribute {name} is not allowed in a mail."
        address = value.strip("\"'")
        if name in _LINK_ATTRIBUTES and not _is_safe(address):
            yield f"{name} must be a web, mail or telephone link, not {address[:60]!r}."


def _with_marks(source: str) -> str:
    """The HTML with a mark for each output of Liquid and without its tags, in one pass."""
    parts: list[str] = []
    at = 0
    while True:
        output, tag = source.find("{{", at), source.find("{%", at)
        is_output = output >= 0 and (tag < 0 or output < tag)
        start = output if is_output else tag
        end = source.find("}}" if is_output else "%}", start + 2) if start >= 0 else -1
        if end < 0:
            parts.append(source[at:])
            return "".join(parts)
        parts.append(source[at:start] + (_VALUE if is_output else ""))
        at = end + 2
