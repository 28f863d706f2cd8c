"""Who must not be written to any more: which event records which reason, and how a no is called.

A block or a deferral says something about one attempt, not about the address, so it suppresses
nothing. A drop repeats what the provider's own lists know; only an invalid address is news.
"""

from __future__ import annotations

from outreach.core.delivery import DropReason
from outreach.core.plan import Trigger
from outreach.core.states import EventType, SuppressionReason

_RECORDED: dict[EventType, SuppressionReason] = {
    EventType.BOUNCED: SuppressionReason.BOUNCE,
    EventType.SPAM_REPORT: SuppressionReason.COMPLAINT,
    EventType.UNSUBSCRIBED: SuppressionReason.UNSUBSCRIBE,
    EventType.GROUP_UNSUBSCRIBED: SuppressionReason.UNSUBSCRIBE,
}

_OF_TRIGGER: dict[Trigger, SuppressionReason] = {
    Trigger.BOUNCED: SuppressionReason.BOUNCE,
    Trigger.SPAM_REPORT: SuppressionReason.COMPLAINT,
    Trigger.UNSUBSCRIBED: SuppressionReason.UNSUBSCRIBE,
}

DOMAIN_CODE = "suppressed_domain"


def reason_to_record(
    event_type: EventType, drop_reason: DropReason | None = None
) -> SuppressionReason | None:
    """The reason with which the event suppresses its address; None where it does not."""
    if event_type is EventType.DROPPED:
        return SuppressionReason.INVALID if drop_reason is DropReason.INVALID else None
    return _RECORDED.get(event_type)


def decision_code(reason: SuppressionReason) -> str:
    """The code of a refusal because the address itself is suppressed."""
    return f"suppressed_{reason.value}"


def refusal(
    address_reason: SuppressionReason | None, domain_reason: SuppressionReason | None
) -> str | None:
    """The code of the refusal, the address before its domain; None where neither is suppressed."""
    if address_reason is not None:
        return decision_code(address_reason)
    return None if domain_reason is None else DOMAIN_CODE


def end_code(trigger: Trigger) -> str:
    """The reason of an enrollment that such an event ended."""
    reason = _OF_TRIGGER.get(trigger)
    return trigger.value if reason is None else decision_code(reason)
