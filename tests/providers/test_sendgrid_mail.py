"""The body of a send: what SendGrid's own builder makes of the same mail, and what it takes."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any
from uuid import UUID

import orjson
import pytest
from sendgrid.helpers.mail import (
    Category,
    ClickTracking,
    Content,
    CustomArg,
    Email,
    From,
    Header,
    IpPoolName,
    OpenTracking,
    Personalization,
    ReplyTo,
    Subject,
    SubscriptionTracking,
    To,
    TrackingSettings,
)
from sendgrid.helpers.mail import Mail as TheirMail

from outreach.core.mail import Mail
from outreach.core.provider_events import ProviderEvent, read_event
from outreach.dev.sandbox.validation import problems_of
from outreach.providers.sendgrid_mail import mail_body

MAIL = Mail(
    tenant_id=UUID(int=1),
    message_id=UUID(int=2),
    attempt=3,
    campaign_id=UUID(int=4),
    to_address="sam@cust.example",
    from_address="ana@mail.acme.example",
    from_name="Ana, of “Acme” <sales>",
    reply_to="r+2@replies.example",
    subject="A question – für Sam",
    text="Hi Sam,\n\n…\n",
    html="<p>Hi Sam,</p><p>…</p>",
    unsubscribe_url="https://mail.acme.example/u/token",
    unsubscribe_mailto="u+2@replies.example",
    is_tracking_opens=True,
    is_tracking_clicks=False,
)


def built_by_their_package(mail: Mail) -> dict[str, Any]:
    """The same mail through `sendgrid.helpers.mail`.

    Name and address are given apart, custom args one by one as strings, and on the whole mail:
    the builder loses or misplaces them otherwise.
    """
    theirs = TheirMail()
    theirs.from_email = From(mail.from_address, mail.from_name)
    theirs.subject = Subject(mail.subject)
    person = Personalization()
    person.add_to(To(mail.to_address))
    theirs.add_personalization(person)
    theirs.add_content(Content("text/plain", mail.text))
    theirs.add_content(Content("text/html", mail.html))
    if mail.reply_to is not None:
        theirs.reply_to = ReplyTo(mail.reply_to)
    theirs.add_custom_arg(CustomArg("outreach_message_id", str(mail.message_id)))
    theirs.add_custom_arg(CustomArg("outreach_attempt", str(mail.attempt)))
    theirs.add_custom_arg(CustomArg("outreach_tenant", str(mail.tenant_id)))
    theirs.add_header(Header("Message-ID", f"<{'2'.zfill(32)}.{'1'.zfill(32)}@mail.acme.example>"))
    link = f"<{mail.unsubscribe_url}>"
    if mail.unsubscribe_mailto is not None:
        link += f", <mailto:{mail.unsubscribe_mailto}>"
    theirs.add_header(Header("List-Unsubscribe", link))
    theirs.add_header(Header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
    theirs.add_category(Category(str(mail.campaign_id)))
    tracking = TrackingSettings()
    tracking.click_tracking = ClickTracking(mail.is_tracking_clicks, False)
    tracking.open_tracking = OpenTracking(mail.is_tracking_opens)
    tracking.subscription_tracking = SubscriptionTracking(False)
    theirs.tracking_settings = tracking
    if mail.ip_pool is not None:
        theirs.ip_pool_name = IpPoolName(mail.ip_pool)
    body: dict[str, Any] = theirs.get()
    return body


MAILS = [
    MAIL,
    replace(MAIL, reply_to=None, unsubscribe_mailto=None),
    replace(MAIL, is_tracking_opens=False, is_tracking_clicks=True, ip_pool="cold"),
    replace(MAIL, attempt=12, subject="x" * 200, text="SG.a.b at the start is a key to some"),
]


@pytest.mark.parametrize("mail", MAILS[:3], ids=("full", "bare", "tracking"))
def test_the_body_is_what_their_builder_makes(mail: Mail) -> None:
    assert mail_body(mail) == built_by_their_package(mail)


@pytest.mark.parametrize("mail", MAILS)
def test_the_provider_finds_nothing_to_refuse(mail: Mail) -> None:
    sent = orjson.loads(orjson.dumps(mail_body(mail)))
    assert problems_of(sent, time.time()) == []


def test_a_mail_without_words_would_be_refused() -> None:
    """The control: the judge of the test above can say no."""
    sent = orjson.loads(orjson.dumps(mail_body(replace(MAIL, text=""))))
    assert problems_of(sent, time.time()) != []


def test_the_message_id_is_the_same_for_every_attempt_and_another_for_every_message() -> None:
    def of(mail: Mail) -> str:
        headers = mail_body(mail)["headers"]
        assert isinstance(headers, dict)
        return str(headers["Message-ID"])

    assert of(MAIL) == of(replace(MAIL, attempt=4, subject="Another"))
    assert len({of(MAIL), of(replace(MAIL, message_id=UUID(int=9)))}) == 2


def test_the_events_of_a_mail_say_by_its_message_id_whose_they_are() -> None:
    headers = mail_body(MAIL)["headers"]
    assert isinstance(headers, dict)
    told = {"event": "bounce", "timestamp": 1_800_000_000, "smtp-id": headers["Message-ID"]}
    found = read_event(told)
    assert isinstance(found, ProviderEvent)
    assert (found.message_id, found.tenant_id) == (MAIL.message_id, MAIL.tenant_id)
    assert (found.accepted_as, found.provider_ids) == (None, ()), "it is no id of theirs"


def test_there_is_one_recipient_and_nothing_personal_in_what_comes_back() -> None:
    body = mail_body(MAIL)
    assert body["personalizations"] == [{"to": [{"email": "sam@cust.example"}]}]
    args = body["custom_args"]
    assert isinstance(args, dict)
    assert all(isinstance(value, str) for value in args.values()), "SendGrid takes strings alone"
    assert "sam" not in str([args, body["categories"], body["headers"]])


def test_the_builder_knows_an_address_with_a_comma_in_its_name() -> None:
    """Why the name is given apart: their parser keeps a part of it and loses the address."""
    assert Email("Doe, Jane <jane@acme.example>").get() != {
        "email": "jane@acme.example",
        "name": "Doe, Jane",
    }
    sender = mail_body(replace(MAIL, from_name="Doe, Jane"))["from"]
    assert sender == {"email": MAIL.from_address, "name": "Doe, Jane"}
