"""What the writer of a reply wrote: the text without the history below it and the signature.

Line by line and only by what mail programs are known to put there. A quote in the middle of an
answer is left out and the answer goes on; whatever comes after a copied header block is history.

Source: the attribution lines of Gmail, Apple Mail, Outlook, Thunderbird and Yahoo in four
languages; RFC 3676 4.3 (the signature's separator).
"""

from __future__ import annotations

import re

LINES_MAX = 5_000

_ATTRIBUTION = re.compile(
    r"^(?:on\b.{4,300}\bwrote|am\b.{4,300}\bschrieb\b.{0,200}|le\b.{4,300}\ba\s+écrit"
    r"|el\b.{4,300}\bescribi[óo]\b.{0,200}|.{4,200}\bschrieb\s+am\b.{4,100})\s*:?\s*$",
    re.IGNORECASE,
)
_ATTRIBUTION_BEGINS = re.compile(r"^(?:on|am|le|el)\b.*(?:\d|@|<)", re.IGNORECASE)
_ORIGINAL = re.compile(
    r"^\s*[-_–—]{2,}\s*(?:original message|original appointment|forwarded message"
    r"|urspr(?:ü|ue)ngliche nachricht|weitergeleitete nachricht|message d['’]origine"
    r"|message original|message transf[ée]r[ée]|mensaje original|mensaje reenviado)\s*[-_–—]*\s*$"
    r"|^\s*begin forwarded message\s*:\s*$",
    re.IGNORECASE,
)
_FROM = re.compile(r"^\s*\*?(?:from|von|de)\s*:\*?\s*\S", re.IGNORECASE)
_SENT = re.compile(
    r"^\s*\*?(?:sent|date|gesendet|datum|envoy[ée]|enviado(?: el)?|fecha)\s*:", re.IGNORECASE
)
_SIGNATURE = re.compile(
    r"^(?:-- ?|(?:sent from my|get outlook for|von meinem \S+ gesendet|gesendet von"
    r"|envoy[ée] de(?:puis)? mon|enviado desde mi)\b.{0,80})$",
    re.IGNORECASE,
)


def own_words(text: str) -> str:
    """The new part of the text; empty where there is none."""
    lines = text.splitlines()[:LINES_MAX]
    kept: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at].strip("\u00a0\ufeff \t")
        if _ORIGINAL.match(line) or _SIGNATURE.match(line) or _is_copied_header(lines, at):
            break
        if line.startswith(">"):
            at += 1
            continue
        length = _attribution_length(lines, at)
        if length:
            at += length
            if not _is_quoted_next(lines, at):
                break
            continue
        kept.append(line)
        at += 1
    while kept and re.fullmatch(r"[-_=*]{3,}|", kept[-1]):
        kept.pop()
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()


def _attribution_length(lines: list[str], at: int) -> int:
    """How many lines say who wrote what is quoted below; 0 where they do not."""
    first = lines[at].strip()
    if _ATTRIBUTION.match(first):
        return 1
    if not _ATTRIBUTION_BEGINS.match(first):
        return 0
    for length in (2, 3):
        joined = " ".join(line.strip() for line in lines[at : at + length])
        if len(joined) < 400 and joined.endswith(":") and _ATTRIBUTION.match(joined):
            return length
    return 0


def _is_quoted_next(lines: list[str], at: int) -> bool:
    following = next((line.strip() for line in lines[at : at + 4] if line.strip()), "")
    return following.startswith(">")


def _is_copied_header(lines: list[str], at: int) -> bool:
    if not _FROM.match(lines[at]):
        return False
    return any(_SENT.match(line) for line in lines[at + 1 : at + 4])
