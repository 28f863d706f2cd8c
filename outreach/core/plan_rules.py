"""What the fields of a plan must say together: a node's parts, its words, the hours.

These rules read raw JSON of unknown shape. Where a value has the wrong type or spelling its model
has said so already, and a rule passes over it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from outreach.core.duration import Duration, parse_duration
from outreach.core.html import html_problems
from outreach.core.plan_fields import DAY_MINUTES, parse_clock
from outreach.core.plan_json import Document, Location
from outreach.core.plan_model import STOP, SYNTHETIC, Trigger
from outreach.core.template_problems import template_problems

Json = dict[str, object]

_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SEND_ONLY = ("subject", "body", "body_html", "variants", "personalize", "sender_identity_id")


def objects(value: object) -> Iterator[tuple[int, Json]]:
    """The objects of a list with their indexes; nothing where it is no list."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, dict):
                yield index, item


def nodes_of(document: Document) -> list[tuple[int, Json]]:
    """The plan's nodes as far as they are objects."""
    data = document.data
    return list(objects(data.get("nodes"))) if isinstance(data, dict) else []


def trigger_of(transition: Json) -> Trigger | None:
    """What a transition reacts to, where that is a word of the language."""
    on = transition.get("on")
    return Trigger(on) if isinstance(on, str) and on in tuple(Trigger) else None


def duration_of(value: object) -> Duration | None:
    """A duration where it is one."""
    try:
        return parse_duration(value) if isinstance(value, str) else None
    except ValueError:
        return None


def check_hours(document: Document) -> None:
    """Hours that are no hours, and hours that leave no moment to send in."""
    if not isinstance(document.data, dict):
        return
    quiet = _span(document.data.get("quiet_hours"))
    window = _span(document.data.get("send_window"))
    if quiet is not None:
        _check_quiet(document, *quiet)
    if window is not None and window[0] >= window[1]:
        document.report(
            ("send_window", "end"),
            "The window must end after it starts, on the same day; 24:00 is the latest end.",
        )
    elif quiet and window and _minutes(*window) <= _minutes(*quiet):
        document.report(
            ("send_window",),
            "The whole window lies in the quiet hours: nothing could go out.",
        )
    idle = duration_of(document.data.get("idle_after"))
    if idle is not None and idle.is_zero:
        document.report(("idle_after",), "This must be longer than nothing.")


def _check_quiet(document: Document, start: int, end: int) -> None:
    if start == DAY_MINUTES:
        document.report(("quiet_hours", "start"), "24:00 is an end, not a start; write 00:00.")
    elif start == end or (start, end) == (0, DAY_MINUTES):
        document.report(
            ("quiet_hours", "end"),
            "Quiet hours cannot be the whole day; leave quiet_hours out where there are none.",
        )


def _span(value: object) -> tuple[int, int] | None:
    if not isinstance(value, dict):
        return None
    try:
        return parse_clock(value.get("start")), parse_clock(value.get("end"))
    except ValueError:
        return None


def _minutes(start: int, end: int) -> set[int]:
    """The minutes of a day between two clock times, past midnight where the end is earlier."""
    if start < end:
        return set(range(start, end))
    return set(range(start, DAY_MINUTES)) | set(range(end))


def check_nodes(document: Document) -> None:
    """Every node for itself: ids, parts, words, times."""
    first_by_id: dict[str, int] = {}
    for index, node in nodes_of(document):
        here: Location = ("nodes", index)
        node_id = node.get("id")
        if isinstance(node_id, str):
            if node_id == STOP:
                document.report((*here, "id"), f"{STOP} ends an enrollment; no node can have it.")
            if node_id in first_by_id:
                first = document.path(("nodes", first_by_id[node_id]))
                document.report((*here, "id"), f"{node_id} is already the id of {first}.")
            first_by_id.setdefault(node_id, index)
        if node.get("action") == "send":
            _check_send(document, here, node)
        elif node.get("action") == "wait":
            _check_wait(document, here, node)
        _check_words(document, here, node)
        _check_variants(document, here, node)
        _check_transitions(document, here, node)


def _check_send(document: Document, here: Location, node: Json) -> None:
    if node.get("variants") or node.get("personalize") is not None:
        return
    for name in ("subject", "body"):
        if _is_blank(node.get(name)):
            document.report(
                (*here, name), f"A send node needs a {name}, or variants, or personalize."
            )


def _check_wait(document: Document, here: Location, node: Json) -> None:
    for name in _SEND_ONLY:
        if node.get(name):
            document.report((*here, name), f"A wait node sends nothing, so it has no {name}.")
    if node.get("reply_in_thread") is True:
        document.report((*here, "reply_in_thread"), "A wait node sends nothing to be in a thread.")
    schedule = node.get("schedule")
    delay = duration_of(schedule.get("delay")) if isinstance(schedule, dict) else None
    if delay is not None and not delay.is_zero:
        document.report(
            (*here, "schedule", "delay"),
            "A wait node has no delay; what it waits for is in its transitions.",
        )


def _check_words(document: Document, here: Location, node: Json) -> None:
    """Templates of a node or of a variant."""
    for name in ("subject", "body", "body_html"):
        words = node.get(name)
        if not isinstance(words, str):
            continue
        place = (*here, name)
        if name == "subject" and _BREAKS.search(words):
            document.report(place, "A subject is one line without control characters.")
        if name == "body_html":
            for message in dict.fromkeys(html_problems(words)):
                document.report(place, message)
        for problem in template_problems(words, document.path(place)):
            document.report(place, problem.message)


def _check_variants(document: Document, here: Location, node: Json) -> None:
    seen: set[str] = set()
    for index, variant in objects(node.get("variants")):
        place = (*here, "variants", index)
        variant_id = variant.get("id")
        if isinstance(variant_id, str):
            if variant_id in seen:
                document.report((*place, "id"), f"{variant_id} is the id of another variant here.")
            seen.add(variant_id)
        for name in ("subject", "body"):
            words = variant.get(name)
            if isinstance(words, str) and _is_blank(words):
                document.report((*place, name), f"A variant needs a {name}.")
        _check_words(document, place, variant)


def _check_transitions(document: Document, here: Location, node: Json) -> None:
    timers: set[Trigger] = set()
    for index, transition in objects(node.get("transitions")):
        place = (*here, "transitions", index)
        trigger = trigger_of(transition)
        if trigger is None:
            continue
        if trigger in SYNTHETIC:
            if transition.get("within") is not None:
                document.report(
                    (*place, "within"),
                    f"{trigger} is a timer; write after for when it fires. "
                    "within is for events that happen.",
                )
            if trigger in timers:
                document.report((*place, "on"), f"There is already a {trigger} at this node.")
            timers.add(trigger)
        elif transition.get("after") is not None:
            document.report(
                (*place, "after"),
                f"{trigger} is an event that happens; write within for how late it still counts. "
                "after is for the timers no_open, no_click and no_reply.",
            )


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())
