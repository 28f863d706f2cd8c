"""Which opens and clicks are a machine's: five signs, and what each rests on.

Two signs are in the event itself: the provider says so, or the program does. The other three need
the message's other events: it came with the delivery, it is one of many links at once, or it
accompanied those. All are judged from when things happened and never from when we heard of them,
so the verdict depends on the set of events alone, in whatever order and company they come.

A mailbox's image proxy (Gmail's, Yahoo's) is no machine: it fetches when a person opens the mail.
Only what it fetches while the mail is being delivered nobody can have opened. Apple's Mail Privacy
Protection fetches whether or not anybody looks, and the provider marks it. A missing or empty agent
proves nothing, since not every event carries one.

A click's address on the network is not looked at and not kept: nobody follows two links of a mail
within a second, from one address or from two, and scanners use many.

Source: Twilio SendGrid, "Event Webhook Reference" (whole seconds, `sg_machine_open`); the agents
that mail gateways and link checkers give themselves.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby, pairwise

from outreach.core.states import EventType


class MachineReason(StrEnum):
    """Why an event is taken for a machine's."""

    FLAG = "provider_says_so"
    AGENT = "scanner_agent"
    LINKS = "links_at_once"
    DELIVERY = "with_delivery"
    COMPANY = "beside_scanner"  # an open in the company of links at once


# A gateway looks at a mail before it says yes to it: up to a minute before the delivery. What is
# longer before it may be a person's: a receiver whose yes got lost has the mail before the retry.
BEFORE_DELIVERY = timedelta(seconds=60)
AFTER_DELIVERY = timedelta(seconds=2)  # stamps are whole seconds: one to two in truth
AT_ONCE = timedelta(seconds=1)
# Nothing that is farther away bears on an event: a sign, and the signs on which that one rests.
REACH = BEFORE_DELIVERY + 2 * AT_ONCE

# Programs that follow links to look at them, and libraries that no person reads mail with.
_SCANNERS = re.compile(
    r"barracuda|proofpoint|mimecast|safelinks|symantec|messagelabs|forcepoint|websense|trendmicro"
    r"|trend micro|fireeye|trellix|sophos|cloudmark|vade ?secure|ironport|cisco ?talos|zscaler"
    r"|bitdefender|avanan|fortiguard|checkpoint|urldefense|virustotal|phishtank|urlscan"
    r"|headlesschrome|phantomjs|puppeteer|playwright|selenium"
    r"|python-|python/|aiohttp|httpx|scrapy|curl/|wget/|go-http-client|okhttp|libwww|lwp::"
    r"|\bjava/|apache-httpclient|node-fetch|axios/|guzzlehttp|postmanruntime|winhttp"
    r"|bot\b|crawler|spider|scanner|link ?check|uripreview|bingpreview|facebookexternalhit"
    r"|^head\b",
    re.IGNORECASE,
)

# They fetch images for a mailbox. The one with two browsers' names is Gmail's at delivery.
_PROXIES = re.compile(
    r"googleimageproxy|yahoomailproxy|edge/12\.246 mozilla/5\.0$|^mozilla/5\.0$", re.IGNORECASE
)

_BY_ITSELF = frozenset({MachineReason.FLAG, MachineReason.AGENT})


@dataclass(frozen=True, slots=True)
class Seen:
    """A delivery, an open or a click of one message; `key` is the caller's name for it."""

    key: str
    type: EventType
    at: datetime
    reason: MachineReason | None  # as it was judged before, or by itself
    agent: str | None
    url: str | None


def by_itself(
    event_type: EventType, agent: str | None, *, is_flagged: bool
) -> MachineReason | None:
    """What an event shows without any other."""
    if event_type is EventType.OPENED and is_flagged:
        return MachineReason.FLAG
    if event_type in (EventType.OPENED, EventType.CLICKED) and agent and _SCANNERS.search(agent):
        return MachineReason.AGENT
    return None


def grade(story: Sequence[Seen]) -> dict[str, MachineReason | None]:
    """The verdict on each open and click of one message, by key.

    The verdict on an event holds for the whole story once everything within REACH of it is there.
    """
    deliveries = [seen.at for seen in story if seen.type is EventType.DELIVERED]
    clicks = [seen for seen in story if seen.type is EventType.CLICKED]
    at_once = _at_once(clicks)
    moments = sorted({click.at for click in clicks if click.key in at_once})
    verdicts = {
        seen.key: _verdict_on_open(seen, moments, deliveries)
        for seen in story
        if seen.type is EventType.OPENED
    }
    opened = [seen.at for seen in story if verdicts.get(seen.key, seen) is None]
    opened_at = min(opened, default=None)
    for click in clicks:
        verdicts[click.key] = _verdict_on_click(click, at_once, deliveries, opened_at)
    return verdicts


def _verdict_on_open(
    seen: Seen, moments: Sequence[datetime], deliveries: Sequence[datetime]
) -> MachineReason | None:
    if seen.reason in _BY_ITSELF:
        return seen.reason
    next_one = bisect_left(moments, seen.at - AT_ONCE)
    if next_one < len(moments) and moments[next_one] <= seen.at + AT_ONCE:
        return MachineReason.COMPANY
    is_proxy = seen.agent is not None and _PROXIES.search(seen.agent) is not None
    if is_proxy and _comes_with_delivery(seen.at, deliveries):
        return MachineReason.DELIVERY
    return None


def _verdict_on_click(
    seen: Seen,
    at_once: Collection[str],
    deliveries: Sequence[datetime],
    opened_at: datetime | None,
) -> MachineReason | None:
    if seen.reason in _BY_ITSELF:
        return seen.reason
    if seen.key in at_once:
        return MachineReason.LINKS
    # Who has opened it may be quick.
    is_unread = opened_at is None or opened_at > seen.at
    if is_unread and _comes_with_delivery(seen.at, deliveries):
        return MachineReason.DELIVERY
    return None


def _at_once(clicks: Sequence[Seen]) -> set[str]:
    """The clicks beside which another link of the mail was followed within a second."""
    linked = sorted((click for click in clicks if click.url), key=lambda click: click.at)
    runs = [list(run) for _, run in groupby(linked, key=lambda click: click.url)]
    found: set[str] = set()
    for earlier, later in pairwise(runs):  # the nearest click on another link is in the next run
        found |= {click.key for click in earlier if later[0].at - click.at <= AT_ONCE}
        found |= {click.key for click in later if click.at - earlier[-1].at <= AT_ONCE}
    return found


def _comes_with_delivery(at: datetime, deliveries: Sequence[datetime]) -> bool:
    return any(-BEFORE_DELIVERY <= at - delivery < AFTER_DELIVERY for delivery in deliveries)
