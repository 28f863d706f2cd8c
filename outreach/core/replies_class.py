"""What kind of mail came in, and so what follows from it.

Headers first: a machine says that it is one more reliably than it words its letters. Words decide
between what machines send, and whether a person who answers wants no more mail. In doubt it is a
reply: a person who wrote and gets another mail of the sequence is the graver mistake.

Source: RFC 3834 (Auto-Submitted), RFC 3464 (reports); Exchange's and Gmail's automatic replies.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from outreach.core.replies import Mail
from outreach.core.replies_dates import return_date
from outreach.core.replies_words import asks_to_be_left_alone, is_titled_away, says_away
from outreach.core.states import InboundClass


@dataclass(frozen=True, slots=True)
class Classified:
    """The kind, and the day of the return where an absence names one."""

    kind: InboundClass
    returns_on: date | None = None


def classify(mail: Mail, received_at: datetime, *, is_unsubscribe_address: bool) -> Classified:
    """The kind of the mail; whatever comes to an unsubscribe address asks for that."""
    if mail.bounce is not None:
        return Classified(InboundClass.BOUNCE)
    if is_unsubscribe_address:
        return Classified(InboundClass.UNSUBSCRIBE_REQUEST)
    if any(mark.startswith("report:") for mark in mail.marks):
        return Classified(InboundClass.OTHER)
    if is_titled_away(mail.subject) or (mail.marks and says_away(mail.text)):
        sent_on = (mail.sent_at or received_at).date()
        day = return_date(f"{mail.subject}\n{mail.text}", min(sent_on, received_at.date()))
        return Classified(InboundClass.OUT_OF_OFFICE, day)
    if mail.marks:
        return Classified(InboundClass.OTHER)
    if asks_to_be_left_alone(mail.subject, mail.text):
        return Classified(InboundClass.UNSUBSCRIBE_REQUEST)
    return Classified(InboundClass.REPLY)
