"""Why, in words: every code that a decision, an event or a step can have, and its sentence.

One catalogue for the console, `explain`, the API and mails. A sentence has fields in braces, filled
from the fact's `detail`; a part in square brackets is left out when a field in it is unknown, so a
sentence is whole whatever is known. Sentences are short, in the present, and blame nobody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """One code: the sentence, who can end it, and until when it holds."""

    text: str
    ends_by: str = ""  # nobody, itself, or a role; empty for what simply happened
    until: str = ""  # final, or what ends it


def _suppressed(text: str) -> Reason:
    return Reason(text, "an admin, with a reason", "lifted")


_BY_ITSELF = "itself"

PAUSES: dict[str, Reason] = {
    "installation_paused": Reason(
        'Sending is paused for the whole installation[ by {who}][ since {since}][: "{reason}"].',
        "an operator",
        "resumed",
    ),
    "data_loss_hold": Reason(
        "The database may have forgotten mail that went out; nothing is sent until it is settled.",
        "an operator",
        "approved",
    ),
    "tenant_paused": Reason(
        'Sending is paused[ by {who}][ since {since}][: "{reason}"].', "a manager", "resumed"
    ),
    "provider_paused": Reason(
        "The provider refuses the account[ since {since}][: {answer}].", "an operator", "key works"
    ),
    "account_forbidden": Reason(
        "Alarm: the provider has taken the account out of service[ ({change})]; nothing is sent.",
        "an operator",
        "resumed",
    ),
    "campaign_paused": Reason(
        '[{campaign}|The campaign] is paused[ by {who}][: "{reason}"].', "a manager", "resumed"
    ),
    "installation_resumed": Reason("Sending goes on for the whole installation."),
    "tenant_resumed": Reason("Sending goes on."),
    "campaign_resumed": Reason("[{campaign}|The campaign] runs again."),
    "enrollment_resumed": Reason("[{name}|The contact] goes on in this campaign."),
    "sender_resumed": Reason("[{sender}|The sender] may send again."),
    "enrollment_paused": Reason(
        '[{name}|The contact] is paused in this campaign[ by {who}][: "{reason}"].',
        "a manager",
        "resumed",
    ),
    "campaign_ended": Reason("The campaign was stopped[ by {who}][: {note}].", "nobody", "final"),
    "stopped_by_person": Reason("[{who}|A person] stopped it[: {note}].", "nobody", "final"),
    "node_removed": Reason(
        "The plan was changed[ by {who}], and this step is not in it any more.", "nobody", "final"
    ),
    "enrollment_ended": Reason(
        "The campaign has ended for [{name}|the contact][: {why}].", "nobody", "final"
    ),
    "sender_unverified": Reason("[{sender}|The sender] is not verified yet.", "the AE", "verified"),
    "sender_paused": Reason(
        "[{sender}|The sender] is paused[ by {who}][: {reason}].", "a manager", "resumed"
    ),
    "postal_address_missing": Reason(
        "The tenant has no postal address, which every mail must state.", "an admin", "filled in"
    ),
    "enrolled_elsewhere": Reason(
        "[{name}|The contact] is already in [{campaign}|another campaign].",
        "a manager",
        "that ends",
    ),
    "already_enrolled": Reason("The contact is in this campaign already, or was.", "nobody"),
    "unknown_contact": Reason("There is no contact with this address.", "the AE", "imported"),
    "duplicate": Reason("The address stands in the list more than once."),
    "suppressed": Reason("The address must not be written to.", "an admin", "lifted"),
}

HOURS: dict[str, Reason] = {
    "outside_hours": Reason(
        "It was outside the campaign's hours[ ({time} in {zone})].", _BY_ITSELF, "until"
    ),
    "holiday": Reason(
        "[{holiday}|A holiday]: this campaign skips [{country} ]holidays.", _BY_ITSELF, "until"
    ),
    "no_allowed_moment": Reason(
        "No moment within 14 days is allowed by the campaign's hours.", "a manager", "final"
    ),
}

PEOPLE: dict[str, Reason] = {
    "contact_erased": Reason("[{name}|The contact] asked to be erased.", "nobody", "final"),
    "address_invalid": Reason(
        "[{address}|The address] does not exist[ ({why})].", "the AE", "final"
    ),
    "address_risky": Reason(
        "[{address}|The address] may not accept mail[ ({why})].", "the AE", "policy"
    ),
    "suppressed_unsubscribe": _suppressed("[{name}|The contact] unsubscribed[ on {since}]."),
    "suppressed_complaint": _suppressed("[{name}|The contact] reported us as spam[ on {since}]."),
    "suppressed_bounce": _suppressed(
        "Mail to [{address}|the address] bounced for good[ on {since}]."
    ),
    "suppressed_blocked": _suppressed(
        "Mail to [{address}|the address] is blocked[ since {since}]."
    ),
    "suppressed_invalid": _suppressed("[{address}|The address] is known not to exist."),
    "suppressed_manual": _suppressed("A person put [{address}|the address] on the list[: {note}]."),
    "suppressed_legal": _suppressed(
        "[{address}|The address] must not be written to for a legal reason[: {note}]."
    ),
    "suppressed_domain": _suppressed("Nobody at [{domain}|this domain] is written to[: {note}]."),
    "suppression_begun": Reason("No more mail goes to {address}[: {why}]."),
    "suppression_lifted": Reason(
        "[{lifted_by}|A person] lifted the suppression[ ({suppression})][: {lift_reason}]."
    ),
    "value_missing": Reason(
        "[{field}|A value] is missing and has no default.", "the AE", "filled in or skipped"
    ),
    "draft_waiting": Reason("The draft waits for approval.", "the reviewer", "approved"),
    "draft_failed": Reason("The draft failed [{checks} ]checks.", "the reviewer", "approved"),
    "draft_rejected": Reason("The draft was rejected[ by {who}].", "the reviewer", "approved"),
    "ai_budget": Reason("Today's [{amount} ]for drafting is used up.", _BY_ITSELF, "00:00"),
    "out_of_office": Reason("Away[ until {until}]; the plan waits.", _BY_ITSELF, "until"),
}

LIMITS: dict[str, Reason] = {
    "limit_minute": Reason(
        "[{sender}|The sender] may send [{n} ]a minute; full.", _BY_ITSELF, "until"
    ),
    "limit_hour": Reason(
        "[{sender}|The sender] may send [{n} ]an hour; full.", _BY_ITSELF, "until"
    ),
    "limit_day": Reason("[{sender}|The sender] may send [{n} ]a day; full.", _BY_ITSELF, "until"),
    "limit_warmup": Reason(
        "[{sender}|The sender] is[ on day {day} of its| in its] warm-up[: {n} a day].",
        _BY_ITSELF,
        "until",
    ),
    "limit_domain": Reason(
        "[{n} {unit} to|The limit of mails to] [{domain}|this domain]; full.", _BY_ITSELF, "until"
    ),
    "limit_pool": Reason(
        "[{n} {unit} for|The limit of] the IP pool[ {key}]; full.", _BY_ITSELF, "until"
    ),
    "limit_tenant": Reason("[{n} {unit} for|The limit of] this tenant; full.", _BY_ITSELF, "until"),
    "limit_installation": Reason(
        "[{n} {unit} for|The limit of] the whole installation; full.", _BY_ITSELF, "until"
    ),
    "reputation_slowed": Reason(
        "Bounces or complaints are over [{threshold}|the threshold]; the sender goes slower.",
        "a manager",
        "under it again",
    ),
    "reputation_stopped": Reason(
        "Bounces or complaints are over [{threshold}|the threshold]; the sender is stopped.",
        "a manager",
        "under it again",
    ),
}

PROVIDER: dict[str, Reason] = {
    "provider_later": Reason(
        "The provider asked us to come back[ ({http_status})][, try {attempt} of 6].",
        _BY_ITSELF,
        "until",
    ),
    "provider_refused": Reason("The provider refused it for good[: {answer}].", "the AE", "final"),
    "outcome_unknown": Reason(
        "Handed to the provider, no answer. Not sent again by itself.", _BY_ITSELF, "next look"
    ),
    "unknown_settled": Reason("What had become of it is known now[: {answer}].", "nobody", "final"),
    "already_intended": Reason(
        "This step's mail exists already; no second one is made.", "nobody", "final"
    ),
    "abandoned": Reason("It was never known whether it left; given up.", "nobody", "final"),
    "no_match": Reason(
        "The provider's logs show nothing of try {attempt}.", _BY_ITSELF, "next look"
    ),
    "presumed_not_accepted": Reason(
        "All signs say that try {attempt} did not leave, so the mail goes out again."
    ),
    "given_up": Reason("[{who}|The campaign's policy] gave the mail up[: {reason}]."),
    "said_sent": Reason("[{who}|A person] says that try {attempt} was sent[: {reason}]."),
    "said_not_sent": Reason("[{who}|A person] says that try {attempt} was not sent[: {reason}]."),
    "contradiction": Reason(
        "Alarm: of try {attempt} there is proof and disproof[; recorded was: {recorded}]."
    ),
    "double_send": Reason("Alarm: the provider accepted this mail twice[, at tries {attempts}]."),
    "provider_outage": Reason(
        "Alarm: the provider took mail and said nothing; sending was broken off for a while."
    ),
    "sent_and_forgotten": Reason(
        "Alarm: the provider has a mail that the database had forgotten; it was put back."
    ),
    "accepted_without_attempt": Reason(
        "Alarm: the provider tells of try {attempt}, which was never made."
    ),
    "settled_not_sent": Reason(
        "A person found that it had not left; it is not sent any more.", "nobody", "final"
    ),
    "send": Reason("The mail of step {node} is decided: it goes out[, {subject}]."),
    "armed": Reason("Try {attempt} is with the provider; no answer yet."),
    "accepted": Reason(
        "The provider accepted the mail of step {node}[ at try {attempt}]"
        "[, as the {settled_by} shows]."
    ),
    "rejected": Reason("The provider refused try {attempt}[ ({http_status})][: {answer}]."),
    "not_sent": Reason("Try {attempt} never reached the provider[: {answer}]."),
}

EVENTS: dict[str, Reason] = {
    "processed": Reason("The provider took the mail into its queue."),
    "deferred": Reason("The receiver asked for the mail to come later[: {reason}]."),
    "delivered": Reason("The mail of step {node} was delivered."),
    "blocked": Reason("The receiver refused the mail this time[: {reason}]."),
    "bounced": Reason("The mail bounced for good[: {reason}]."),
    "dropped": Reason("The provider did not try[: {reason}].", "nobody", "final"),
    "opened": Reason("[{name}|The contact] opened the mail of step {node}."),
    "clicked": Reason("[{name}|The contact] clicked in the mail of step {node}[: {url}]."),
    "machine_event": Reason(
        "It was [{event}|seen] by a machine, not a person[ ({why})]: recorded, does not move the"
        " plan."
    ),
    "provider_says_so": Reason("The provider says so."),
    "scanner_agent": Reason("A program that looks at links did it."),
    "links_at_once": Reason("Several links were followed within a second."),
    "with_delivery": Reason("It came with the delivery, before anybody could read the mail."),
    "beside_scanner": Reason("It came while several links were followed at once."),
    "spam_report": Reason("[{name}|The contact] reported the mail as spam."),
    "unsubscribed": Reason("[{name}|The contact] unsubscribed."),
    "group_unsubscribed": Reason("[{name}|The contact] unsubscribed from a group."),
    "group_resubscribed": Reason("[{name}|The contact] subscribed to a group again."),
    "replied": Reason("[{name}|The contact] replied.", "the AE", "final"),
    "unsubscribe_request": Reason(
        "[{name}|The contact] asked not to be written to.", "the AE", "final"
    ),
    "no_open": Reason("The mail of step {node} was not opened in time."),
    "no_click": Reason("Nothing in the mail of step {node} was clicked in time."),
    "no_reply": Reason("The mail of step {node} was not answered in time."),
}

STEPS: dict[str, Reason] = {
    "imported": Reason("[{address}|The contact] came in."),
    "enrolled": Reason("[{name}|The contact] was enrolled in [{campaign}|the campaign]."),
    "entered": Reason("The plan begins at {to}."),
    "event": Reason("Because of “{trigger}” the plan goes from {from} to {to}."),
    "timer": Reason("Because of “{trigger}” the plan goes from {from} to {to}."),
    "step_taken_back": Reason(
        "“{trigger}” had happened before the timer; the step was taken back to {to}."
    ),
    "step_of_a_machine": Reason(
        "What “{trigger}” led to was a machine's doing, as it turned out; the step was taken back"
        " to {to}."
    ),
    "plan_updated": Reason("The plan was changed[ by {who}]; {from} goes on as {to}."),
    "timer_found_event": Reason("A timer found that it had happened in time, and did nothing."),
    "completed": Reason("The plan ran to its end[ at {from}].", "nobody", "final"),
    "stopped": Reason("The campaign ended for [{name}|the contact][: {why}].", "nobody", "final"),
    "failed": Reason("It could not go on[: {why}].", "nobody", "final"),
    "send_due": Reason("The mail of step {node} is due[, and held: {held_by}]."),
    "timer_due": Reason("A timer of step {node} is due: {trigger}[, and held: {held_by}]."),
    "idle": Reason("Nothing happened for a long time; the plan ends here."),
}

REASONS: dict[str, Reason] = {
    **PAUSES, **HOURS, **PEOPLE, **LIMITS, **PROVIDER, **EVENTS, **STEPS,
}  # fmt: skip

_PART = re.compile(r"\[([^\[\]|]*)(?:\|([^\[\]]*))?\]")
_FIELD = re.compile(r"\{([a-z_]+)\}")
# How sentences of the catalogue begin that do not begin with a name.
_SMALL = frozenset(
    {"A", "It", "Mail", "No", "Nobody", "Nothing", "Sending", "Somebody", "The", "This", "Today's"}
)


def sentence(code: str, detail: Mapping[str, object] | None = None) -> str:
    """The sentence of a code for people; an unknown code is shown in words, never hidden."""
    known = detail or {}
    reason = REASONS.get(code)
    if reason is None:
        return f"{code.replace('_', ' ').capitalize()}."

    def part(match: re.Match[str]) -> str:
        inside, otherwise = match[1], match[2] or ""
        has_all = all(known.get(name) not in (None, "") for name in _FIELD.findall(inside))
        return inside if has_all else otherwise

    def field(match: re.Match[str]) -> str:
        value = known.get(match[1])
        if isinstance(value, list | tuple):
            value = ", ".join(str(one) for one in value)
        return "…" if value is None else " ".join(str(value).split())

    frame = _PART.sub(part, reason.text)
    # Only our own words begin with a capital: an address stays as it is.
    return _FIELD.sub(field, frame[:1].upper() + frame[1:])


def clause(code: str, detail: Mapping[str, object] | None = None) -> str:
    """The sentence as a part of another: without its full stop, begun small unless by a name."""
    text = sentence(code, detail).removesuffix(".")
    first, _, rest = text.partition(" ")
    return f"{first.lower()} {rest}" if first in _SMALL else text
