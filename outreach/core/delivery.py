"""What became of a message: a rank that only rises, and what each event is called in a plan.

Only what the receiving side or the provider says about the delivery raises the rank; opens, clicks
and replies are about the reader. Because a rank only rises, order and repeats do not matter, and
the SQL twin is `greatest()`.
"""

from __future__ import annotations

from enum import StrEnum

from outreach.core.plan import Trigger
from outreach.core.states import Delivery, EventType


class DropReason(StrEnum):
    """Why a provider did not even try; its own words are translated where they come in."""

    BOUNCED = "bounced"  # the address is on its bounce list
    UNSUBSCRIBED = "unsubscribed"  # on its unsubscribe list
    SPAM_REPORT = "spam_report"  # on its complaint list
    INVALID = "invalid"  # not an address that can receive mail
    OTHER = "other"  # content, quota, malformed request, or words that we do not know


_RANK = {delivery: rank for rank, delivery in enumerate(Delivery)}

_DELIVERY: dict[EventType, Delivery] = {
    EventType.DEFERRED: Delivery.DEFERRED,
    EventType.DELIVERED: Delivery.DELIVERED,
    EventType.BLOCKED: Delivery.BLOCKED,
    EventType.BOUNCED: Delivery.BOUNCED,
    EventType.DROPPED: Delivery.DROPPED,
    EventType.SPAM_REPORT: Delivery.COMPLAINED,
}

_TRIGGER: dict[EventType, Trigger] = {
    EventType.DELIVERED: Trigger.DELIVERED,
    EventType.BLOCKED: Trigger.BLOCKED,
    EventType.BOUNCED: Trigger.BOUNCED,
    EventType.OPENED: Trigger.OPENED,
    EventType.CLICKED: Trigger.CLICKED,
    EventType.SPAM_REPORT: Trigger.SPAM_REPORT,
    EventType.UNSUBSCRIBED: Trigger.UNSUBSCRIBED,
    EventType.GROUP_UNSUBSCRIBED: Trigger.UNSUBSCRIBED,
    EventType.REPLIED: Trigger.REPLIED,
}

_DROP_TRIGGER: dict[DropReason, Trigger] = {
    DropReason.BOUNCED: Trigger.BOUNCED,
    DropReason.UNSUBSCRIBED: Trigger.UNSUBSCRIBED,
    DropReason.SPAM_REPORT: Trigger.SPAM_REPORT,
}


def delivery_of(event_type: EventType) -> Delivery:
    """The rank that the event raises its message to at least; `none` where it says nothing."""
    return _DELIVERY.get(event_type, Delivery.NONE)


def raised(current: Delivery, event_type: EventType) -> Delivery:
    """The delivery after the event: never lower than before."""
    return max(current, delivery_of(event_type), key=_RANK.__getitem__)


def trigger_of(event_type: EventType, drop_reason: DropReason | None = None) -> Trigger | None:
    """The word of the plan language for the event; None for one that no plan can name.

    A drop is called by its reason, and `failed` where that is none of the plan's words. The
    timers' own events have no word here: a timer moves a plan itself, the record of it does not.
    """
    if event_type is EventType.DROPPED:
        return _DROP_TRIGGER.get(drop_reason or DropReason.OTHER, Trigger.FAILED)
    return _TRIGGER.get(event_type)
