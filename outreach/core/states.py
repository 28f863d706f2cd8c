"""The states of everything that has states, in the words of the database.

Each enum has the same labels in the same order as the SQL type named in its docstring; a house
test compares them. What moves a row from one state to the next is said beside each member.
"""

from __future__ import annotations

from enum import StrEnum


class PauseState(StrEnum):
    """SQL `pause_state`: tenants and the installation."""

    ACTIVE = "active"
    PAUSED = "paused"  # a person's act; a person's act ends it


class SenderState(StrEnum):
    """SQL `sender_state`."""

    UNVERIFIED = "unverified"  # nothing is sent from it
    VERIFIED = "verified"  # the provider said so, or an operator by force


class Reputation(StrEnum):
    """SQL `reputation_state`: what bounces and complaints let a sender do, best first."""

    GOOD = "good"
    SLOWED = "slowed"  # half of every limit
    STOPPED = "stopped"  # nothing


class CampaignState(StrEnum):
    """SQL `campaign_state`."""

    DRAFT = "draft"  # launch moves it on
    ACTIVE = "active"
    PAUSED = "paused"  # resume
    COMPLETED = "completed"  # every enrollment has ended; a later enrollment makes it active again
    STOPPED = "stopped"  # final


class EnrollmentState(StrEnum):
    """SQL `enrollment_state`; every enrolled contact ends in one of the last three."""

    DRAFT = "draft"  # launch activates it
    ACTIVE = "active"
    PAUSED = "paused"  # resume
    COMPLETED = "completed"  # the plan ran to an end
    STOPPED = "stopped"  # an event, a transition to `stop`, or a person ended it
    FAILED = "failed"  # it could not go on; the reason is with it


ENROLLMENT_ENDS = frozenset(
    {EnrollmentState.COMPLETED, EnrollmentState.STOPPED, EnrollmentState.FAILED}
)


class ActionKind(StrEnum):
    """SQL `action_kind`."""

    SEND = "send"
    TIMEOUT = "timeout"


class ActionState(StrEnum):
    """SQL `action_state`."""

    PENDING = "pending"  # due at a time, or held
    CLAIMED = "claimed"  # its message is in the ledger and its attempt runs
    DONE = "done"
    CANCELED = "canceled"  # the enrollment moved on or ended before it


class MessageState(StrEnum):
    """SQL `message_state`."""

    SENDING = "sending"  # an attempt is armed
    WAITING_RETRY = "waiting_retry"  # refused for now, or never left: due again at `wake_at`
    SENT = "sent"  # the provider accepted it; final
    FAILED = "failed"  # refused for good, or attempts used up; final
    UNKNOWN = "unknown"  # may have left; evidence or policy settles it
    ABANDONED = "abandoned"  # unknown and given up; final


class AttemptOutcome(StrEnum):
    """SQL `attempt_outcome`."""

    ARMED = "armed"  # from here on the provider may have it
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NOT_SENT = "not_sent"  # proven never to have reached the provider whole
    UNKNOWN = "unknown"


class Delivery(StrEnum):
    """SQL `delivery_state`, in rising rank: an event can only raise it."""

    NONE = "none"  # the provider has told us nothing yet
    DEFERRED = "deferred"  # the receiver said later
    DELIVERED = "delivered"  # the receiver's server took it
    BLOCKED = "blocked"  # refused this time
    BOUNCED = "bounced"  # refused for good
    DROPPED = "dropped"  # the provider did not try
    COMPLAINED = "complained"  # the reader called it spam


class EventType(StrEnum):
    """SQL `event_type`: what is known to have happened to a message."""

    PROCESSED = "processed"
    DEFERRED = "deferred"
    DELIVERED = "delivered"
    BLOCKED = "blocked"
    BOUNCED = "bounced"
    DROPPED = "dropped"
    OPENED = "opened"
    CLICKED = "clicked"
    SPAM_REPORT = "spam_report"
    UNSUBSCRIBED = "unsubscribed"
    GROUP_UNSUBSCRIBED = "group_unsubscribed"
    GROUP_RESUBSCRIBED = "group_resubscribed"
    REPLIED = "replied"
    NO_OPEN = "no_open"  # ours: the timer found no open
    NO_CLICK = "no_click"
    NO_REPLY = "no_reply"


class DeliveryState(StrEnum):
    """SQL `webhook_state`: one raw body."""

    RECEIVED = "received"  # the applier takes it
    APPLIED = "applied"
    QUARANTINED = "quarantined"  # signed, and not what a webhook should be


class InboundClass(StrEnum):
    """SQL `inbound_class`: what kind of mail came in."""

    REPLY = "reply"  # a person wrote
    OUT_OF_OFFICE = "out_of_office"  # a machine wrote that the person is away
    BOUNCE = "bounce"  # a server wrote that a mail did not arrive
    UNSUBSCRIBE_REQUEST = "unsubscribe_request"  # a person wants no more mail
    OTHER = "other"  # receipts, tickets, lists: nothing follows from it


class SuppressionReason(StrEnum):
    """SQL `suppression_reason`."""

    UNSUBSCRIBE = "unsubscribe"
    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    BLOCKED = "blocked"
    INVALID = "invalid"
    MANUAL = "manual"
    LEGAL = "legal"


class UnknownPolicy(StrEnum):
    """SQL `unknown_policy`: what a campaign does with a message that may or may not have left."""

    AT_MOST_ONCE = "at_most_once"  # never sent again; given up after a day without a word
    RESEND_AFTER = "resend_after"  # sent again when all evidence is that it did not leave


class Verdict(StrEnum):
    """The word for a decision about one send, in `send_decisions`."""

    SEND = "send"
    HOLD = "hold"  # not now; `until` says when it is looked at again
    REFUSE = "refuse"  # never
