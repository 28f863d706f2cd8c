"""What becomes of a message of which nobody knows whether it left.

An event settles it at any time, and so may the provider's logs, which are asked three times. What
is left is the campaign's policy. *At most once* never sends again: after the day in which the
provider repeats its events, the message is given up, but only when its events do reach us. *Resend
after* sends again once everything that can be seen says that the message did not leave: a
presumption, so its promise is weaker, and every condition stands in `presumes` by name.

Absence proves nothing by itself. It counts where others' presence shows that it would have been
noticed: later mails of the account were accepted, and an event came for every one of them.

Source: SendGrid repeats an event for 24 hours, and its activity feed lags by minutes; the margins
here are wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from outreach.core.states import UnknownPolicy

# When the provider's logs are asked, after the attempt was armed.
LOOKS = (timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=6))
RESEND_AFTER = timedelta(minutes=60)
GIVE_UP_AFTER = timedelta(hours=25)
RESEND_LOOK = timedelta(minutes=10)  # how often the conditions of a resend are looked at
LAST_LOOK = timedelta(hours=1)  # how often, when only the health of webhooks is missing
DEADLINES_MIN = 10  # so many times its own deadline: whoever made the request is gone
LATER_SENDS_MIN = 20
# An event may take so long: mails armed later than that before now are not asked about.
EVENT_PATIENCE = timedelta(minutes=10)
# A webhook that comes so long after it was signed was refused before, or could not reach us.
WEBHOOK_PATIENCE = timedelta(minutes=5)
TOLD_SHARE_MIN = 0.95


class Step(Enum):
    """What is done about an attempt now."""

    SENT = "sent"  # the provider has it: an event, a log or a person says so
    RESEND = "resend"  # presumed not to have left: the message is due again
    GIVE_UP = "give_up"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Case:
    """An attempt of unknown outcome, and what was asked about it."""

    armed_at: datetime
    deadline_at: datetime
    policy: UnknownPolicy
    looked_at: datetime | None  # when the provider's logs last had nothing of it
    has_logs: bool  # whether they are asked at all


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """How the account's other mails and webhooks fared since the attempt was armed."""

    accepted_after: int  # mails armed later and answered with a yes, up to a bound
    told_after: int  # … of which some event has come
    accepted_before: int
    told_before: int
    webhooks_late: int  # came long after they were signed
    webhooks_quarantined: int
    waiting_since: datetime | None  # the oldest webhook that nobody has applied yet


def is_look_due(case: Case, now: datetime) -> bool:
    """Whether the provider's logs are to be asked; looks that were missed are made once."""
    if not case.has_logs:
        return False
    due = [case.armed_at + after for after in LOOKS if case.armed_at + after <= now]
    return bool(due) and (case.looked_at is None or case.looked_at < due[-1])


def next_look_at(case: Case, now: datetime) -> datetime:
    """When somebody looks at it again, should nothing settle it before."""
    moments = [GIVE_UP_AFTER, *(LOOKS if case.has_logs else ())]
    if case.policy is UnknownPolicy.RESEND_AFTER:
        moments.append(RESEND_AFTER)
    ahead = [at for after in moments if (at := case.armed_at + after) > now]
    found = min(ahead, default=now + LAST_LOOK)
    if case.policy is UnknownPolicy.RESEND_AFTER and now >= case.armed_at + RESEND_AFTER:
        found = min(found, now + RESEND_LOOK)
    return found


def may_resend(case: Case, now: datetime) -> bool:
    """Whether it is old enough for its campaign's policy to ask for the facts."""
    wants = case.policy is UnknownPolicy.RESEND_AFTER
    return wants and now >= case.armed_at + RESEND_AFTER


def may_give_up(case: Case, now: datetime) -> bool:
    """Whether no event of it can come any more."""
    return now >= case.armed_at + GIVE_UP_AFTER


def is_green(facts: AccountFacts, now: datetime) -> bool:
    """Whether webhooks reach us: nearly all mails since were told of, else those before."""
    if facts.waiting_since is not None and facts.waiting_since < now - WEBHOOK_PATIENCE:
        return False
    accepted, told = facts.accepted_after, facts.told_after
    if not accepted:
        accepted, told = facts.accepted_before, facts.told_before
    return accepted > 0 and told >= accepted * TOLD_SHARE_MIN


def presumes(case: Case, facts: AccountFacts, now: datetime) -> dict[str, bool]:
    """Each condition under which a message is presumed not to have left, and whether it holds."""
    lifetime = (case.deadline_at - case.armed_at) * DEADLINES_MIN
    conditions = {
        "is_old_enough": now >= case.armed_at + RESEND_AFTER,
        "is_request_over": now >= case.armed_at + lifetime,
        "are_later_sends_accepted": facts.accepted_after >= LATER_SENDS_MIN,
        "are_later_sends_told": facts.told_after == facts.accepted_after,
        "are_webhooks_on_time": facts.webhooks_late == 0 and facts.webhooks_quarantined == 0,
        "are_webhooks_applied": facts.waiting_since is None,
    }
    if case.has_logs:
        wanted = case.armed_at + LOOKS[1]
        conditions["is_absent_from_logs"] = case.looked_at is not None and case.looked_at >= wanted
    return conditions


def needs_facts(case: Case, now: datetime) -> bool:
    """Whether the policy may do something by now, so that the account's facts are asked for."""
    return may_resend(case, now) or may_give_up(case, now)


def step(case: Case, facts: AccountFacts | None, now: datetime) -> Step:
    """What the campaign's policy does; without facts it waits."""
    if facts is None:
        return Step.WAIT
    if may_resend(case, now) and all(presumes(case, facts, now).values()):
        return Step.RESEND
    if may_give_up(case, now) and is_green(facts, now):
        return Step.GIVE_UP
    return Step.WAIT
