"""Machines and people apart: by their name, by when they come, and by how many links at once."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.core.machine_events import REACH, MachineReason, Seen, by_itself, grade
from outreach.core.states import EventType

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15"
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
GMAIL_AT_DELIVERY = (
    "Mozilla/5.0 AppleWebKit/537.36 Chrome/42.0 Safari/537.36 Edge/12.246 Mozilla/5.0"
)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def delivered(seconds: float) -> Seen:
    return Seen(f"delivered@{seconds}", EventType.DELIVERED, at(seconds), None, None, None)


def opened(
    seconds: float, agent: str | None = None, reason: MachineReason | None = None, name: str = ""
) -> Seen:
    return Seen(f"opened@{seconds}{name}", EventType.OPENED, at(seconds), reason, agent, None)


def clicked(
    seconds: float, link: str | None = "a", reason: MachineReason | None = None, name: str = ""
) -> Seen:
    key = f"clicked@{seconds}{link}{name}"
    return Seen(key, EventType.CLICKED, at(seconds), reason, PHONE, link)


def verdicts(*story: Seen) -> list[MachineReason | None]:
    """In the order given, the deliveries left out."""
    found = grade(story)
    return [found[seen.key] for seen in story if seen.type is not EventType.DELIVERED]


@pytest.mark.parametrize(
    "agent",
    [
        "Barracuda Sentinel (EE)",
        "Mozilla/5.0 (compatible; Proofpoint URL Defense)",
        "Mimecast-Scan/1.0",
        "Mozilla/5.0 (X11) HeadlessChrome/120.0",
        "python-requests/2.31",
        "Go-http-client/1.1",
        "curl/8.0",
        "Java/1.8.0_292",
        "HEAD",
        "SkypeUriPreview Preview/0.5",
        "Googlebot/2.1",
        "W3C Link Checker",
    ],
)
def test_a_program_that_looks_at_links_is_known_by_its_name(agent: str) -> None:
    for event_type in (EventType.OPENED, EventType.CLICKED):
        assert by_itself(event_type, agent, is_flagged=False) is MachineReason.AGENT
    assert by_itself(EventType.DELIVERED, agent, is_flagged=False) is None


@pytest.mark.parametrize(
    "agent", [PHONE, GMAIL, "YahooMailProxy; https://help.yahoo.com/", "Mozilla/5.0", "", None]
)
def test_mail_programs_and_image_proxies_are_people_at_first(agent: str | None) -> None:
    for event_type in (EventType.OPENED, EventType.CLICKED):
        assert by_itself(event_type, agent, is_flagged=False) is None


def test_the_providers_flag_is_about_opens() -> None:
    assert by_itself(EventType.OPENED, PHONE, is_flagged=True) is MachineReason.FLAG
    assert by_itself(EventType.CLICKED, PHONE, is_flagged=True) is None


@pytest.mark.parametrize("reason", [MachineReason.FLAG, MachineReason.AGENT])
def test_what_an_event_shows_by_itself_holds(reason: MachineReason) -> None:
    assert verdicts(opened(500, reason=reason)) == [reason]
    assert verdicts(clicked(500, "a", reason), clicked(500, "b")) == [reason, MachineReason.LINKS]


@pytest.mark.parametrize(
    ("seconds", "is_machine"),
    [(-61, False), (-60, True), (-1, True), (0, True), (1, True), (2, False), (300, False)],
)
def test_a_click_with_the_delivery_is_a_machines(seconds: float, is_machine: bool) -> None:
    expected = MachineReason.DELIVERY if is_machine else None
    assert verdicts(delivered(0), clicked(seconds)) == [expected]


def test_who_has_opened_it_may_be_quick() -> None:
    assert verdicts(delivered(0), opened(1, PHONE), clicked(1)) == [None, None]
    assert verdicts(delivered(0), opened(2, PHONE), clicked(1)) == [None, MachineReason.DELIVERY]
    by_machine = opened(0, PHONE, MachineReason.FLAG)
    assert verdicts(delivered(0), by_machine, clicked(1))[1] is MachineReason.DELIVERY


@pytest.mark.parametrize("agent", [GMAIL, GMAIL_AT_DELIVERY, "Mozilla/5.0"])
def test_a_proxys_open_is_a_machines_only_with_the_delivery(agent: str) -> None:
    assert verdicts(delivered(0), opened(1, agent)) == [MachineReason.DELIVERY]
    assert verdicts(delivered(0), opened(40, agent)) == [None]
    assert verdicts(opened(1, agent)) == [None]


@pytest.mark.parametrize("agent", [PHONE, None])
def test_a_mail_program_may_show_a_mail_as_it_comes(agent: str | None) -> None:
    assert verdicts(delivered(0), opened(1, agent)) == [None]


def test_many_links_at_once_are_a_scanners_and_so_is_an_open_beside_them() -> None:
    links = [clicked(500, "a"), clicked(501, "b"), clicked(501, "c")]
    assert verdicts(*links) == [MachineReason.LINKS] * 3
    assert verdicts(*links, opened(500, PHONE), opened(503, PHONE))[3:] == [
        MachineReason.COMPANY,
        None,
    ]


def test_one_link_twice_and_two_links_apart_are_a_persons() -> None:
    assert verdicts(clicked(500), clicked(500, name="again")) == [None, None]
    assert verdicts(clicked(500, "a"), clicked(502, "b")) == [None, None]
    assert verdicts(clicked(500, "a"), clicked(500, None)) == [None, None]


def test_a_former_verdict_from_company_is_not_kept_without_it() -> None:
    assert verdicts(clicked(500, "a", MachineReason.LINKS)) == [None]
    assert verdicts(opened(500, PHONE, MachineReason.COMPANY)) == [None]


def test_ten_thousand_clicks_are_judged_in_one_go() -> None:
    story = [clicked(n // 3, "ab"[n % 2], name=str(n)) for n in range(10_000)]
    assert set(grade(story).values()) == {MachineReason.LINKS}


SECONDS = st.integers(0, 400)
EVENTS = st.one_of(
    st.builds(delivered, SECONDS),
    st.builds(opened, SECONDS, st.sampled_from([PHONE, GMAIL, None])),
    st.builds(clicked, SECONDS, st.sampled_from(["a", "b", None])),
)
STORIES = st.lists(EVENTS, max_size=12, unique_by=lambda seen: seen.key)


@given(STORIES, st.randoms(use_true_random=False))
def test_the_order_does_not_matter_and_neither_does_a_second_look(
    story: list[Seen], shuffler: random.Random
) -> None:
    once = grade(story)
    assert grade(shuffler.sample(story, len(story))) == once
    again = [Seen(s.key, s.type, s.at, once.get(s.key), s.agent, s.url) for s in story]
    assert grade(again) == once


@given(STORIES, SECONDS)
def test_what_is_out_of_reach_does_not_matter(story: list[Seen], seconds: int) -> None:
    near = [seen for seen in story if abs(seen.at - at(seconds)) <= 2 * REACH]
    verdict, told = grade(story), grade(near)
    for seen in near:
        if seen.key in told and abs(seen.at - at(seconds)) <= REACH:
            assert told[seen.key] == verdict[seen.key]
