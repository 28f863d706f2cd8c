"""Delivery: a rank that only rises, and the plan's word for each event."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.core.delivery import DropReason, delivery_of, raised, trigger_of
from outreach.core.plan import Trigger
from outreach.core.states import Delivery, EventType

ORDER = list(Delivery)


def fold(events: tuple[EventType, ...]) -> Delivery:
    delivery = Delivery.NONE
    for event in events:
        delivery = raised(delivery, event)
    return delivery


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (EventType.PROCESSED, Delivery.NONE),
        (EventType.DEFERRED, Delivery.DEFERRED),
        (EventType.DELIVERED, Delivery.DELIVERED),
        (EventType.BLOCKED, Delivery.BLOCKED),
        (EventType.BOUNCED, Delivery.BOUNCED),
        (EventType.DROPPED, Delivery.DROPPED),
        (EventType.SPAM_REPORT, Delivery.COMPLAINED),
        (EventType.OPENED, Delivery.NONE),
        (EventType.CLICKED, Delivery.NONE),
        (EventType.UNSUBSCRIBED, Delivery.NONE),
        (EventType.REPLIED, Delivery.NONE),
        (EventType.NO_OPEN, Delivery.NONE),
    ],
)
def test_what_an_event_says_about_the_delivery(event: EventType, expected: Delivery) -> None:
    assert delivery_of(event) is expected


@given(st.sampled_from(list(Delivery)), st.sampled_from(list(EventType)))
def test_the_rank_only_rises(current: Delivery, event: EventType) -> None:
    after = raised(current, event)
    assert ORDER.index(after) >= ORDER.index(current)
    assert raised(after, event) is after
    assert after in (current, delivery_of(event))


@given(st.lists(st.sampled_from(list(EventType)), min_size=1, max_size=4))
def test_order_and_repeats_do_not_matter(events: list[EventType]) -> None:
    assert len({fold((*order, order[0])) for order in permutations(events)}) == 1


def test_a_late_deferral_does_not_undo_a_delivery() -> None:
    assert raised(Delivery.DELIVERED, EventType.DEFERRED) is Delivery.DELIVERED
    assert raised(Delivery.DEFERRED, EventType.DELIVERED) is Delivery.DELIVERED


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (DropReason.BOUNCED, Trigger.BOUNCED),
        (DropReason.UNSUBSCRIBED, Trigger.UNSUBSCRIBED),
        (DropReason.SPAM_REPORT, Trigger.SPAM_REPORT),
        (DropReason.INVALID, Trigger.FAILED),
        (DropReason.OTHER, Trigger.FAILED),
        (None, Trigger.FAILED),
    ],
)
def test_a_drop_is_called_by_its_reason(reason: DropReason | None, expected: Trigger) -> None:
    assert trigger_of(EventType.DROPPED, reason) is expected


def test_what_plans_call_the_other_events() -> None:
    assert trigger_of(EventType.GROUP_UNSUBSCRIBED) is Trigger.UNSUBSCRIBED
    nameless = {event for event in EventType if trigger_of(event) is None}
    assert nameless == {
        EventType.PROCESSED,
        EventType.DEFERRED,
        EventType.GROUP_RESUBSCRIBED,
        EventType.NO_OPEN,
        EventType.NO_CLICK,
        EventType.NO_REPLY,
    }
    for event in set(EventType) - nameless - {EventType.DROPPED, EventType.GROUP_UNSUBSCRIBED}:
        trigger = trigger_of(event)
        assert trigger is not None
        assert trigger.value == event.value
