"""A corpus of mails in four languages: what kind each is, and when who is away comes back."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from outreach.core.replies import read_mail
from outreach.core.replies_class import Classified, classify
from outreach.core.states import InboundClass
from tests.core.mails import DAEMON, HTML, PLAIN, dsn, mail, multipart

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
AUTO = "Auto-Submitted: auto-replied"


def kind_of(raw: bytes, *, to_unsubscribe: bool = False) -> Classified:
    return classify(read_mail(raw), NOW, is_unsubscribe_address=to_unsubscribe)


REPLIES = {
    "plain": mail("Sounds good, call me tomorrow."),
    "with history that has the word": mail(
        "Yes please.\n\nOn Mon, 23 Nov 2026, Ana <ana@acme.example> wrote:\n> Hi Ann.\n"
        "> Click here to unsubscribe\n"
    ),
    "outlook's history": mail(
        "Thanks, not now.\n\nFrom: Ana <ana@acme.example>\nSent: Monday\nTo: Ann\n\nunsubscribe"
    ),
    "a question about stopping": mail("When does your offer stop being valid?"),
    "the opposite": mail("Please don't remove me from your list, I like it."),
    "away, says a person": mail("I'm out of office until Friday, but yes, let's talk."),
    "our subject is about absence": mail("Yes.", "Subject: Re: Out of office, made simple"),
    "german": mail("Klingt gut, rufen Sie mich bitte morgen an."),
    "french": mail("Merci, cela m'intéresse. Rappelez-moi jeudi."),
    "spanish": mail("Me interesa, llámeme mañana."),
    "through a group": mail("Yes.", "List-Id: <sales.cust.example>", "Precedence: list"),
    "says that no machine wrote it": mail("Yes.", "Auto-Submitted: no"),
    "an invitation": multipart(
        (PLAIN, "Let us meet."),
        ("Content-Type: text/calendar; method=REQUEST", "BEGIN:VCALENDAR\nEND:VCALENDAR"),
        kind="alternative",
    ),
    "an accepted invitation": multipart(
        ("Content-Type: text/calendar; method=REPLY", "BEGIN:VCALENDAR\nEND:VCALENDAR"),
        headers=("Subject: Accepted: A call",),
    ),
    "empty": mail(""),
}

AWAY: dict[str, tuple[bytes, date | None]] = {
    "exchange": (
        mail(
            "I am out of the office until December 3, 2026 with limited access to email.",
            "Subject: Automatic reply: A question",
            AUTO,
            "X-Auto-Response-Suppress: All",
        ),
        date(2026, 12, 3),
    ),
    "gmail": (
        mail("I'll be back on 7 December.", "Subject: Out of office Re: A question", AUTO),
        date(2026, 12, 7),
    ),
    "only the subject says so": (
        mail("Back soon!", "Subject: Automatic reply: A question"),
        None,
    ),
    "a span, and the return": (
        mail(
            "I am on vacation from 20 November to 4 December and will return on 2026-12-07.", AUTO
        ),
        date(2026, 12, 7),
    ),
    "american and clear": (mail("On leave until 12/24/2026.", AUTO), None),
    "two days in one": (mail("I am out of the office until 04/05.", AUTO), None),
    "twelve slash thirty": (
        mail("I am out of the office, back 12/30/2026.", AUTO),
        date(2026, 12, 30),
    ),
    "german": (
        mail(
            "Ich bin bis zum 04.12.2026 nicht im Büro. Am 7. Dezember bin ich wieder erreichbar.",
            "Subject: Automatische Antwort: A question",
            AUTO,
        ),
        date(2026, 12, 4),
    ),
    "german, the return": (
        mail("Ich bin im Urlaub und ab dem 7.12. wieder im Büro.", "X-Autoreply: yes"),
        date(2026, 12, 7),
    ),
    "german subject alone": (mail("Danke.", "Subject: Abwesenheitsnotiz: A question"), None),
    "french": (
        mail(
            "Je suis absent du bureau jusqu'au 5 janvier.\nCordialement",
            "Subject: =?utf-8?q?R=C3=A9ponse_automatique_=3A_A_question?=",
            AUTO,
        ),
        date(2027, 1, 5),
    ),
    "french, slashes": (
        mail("Je suis en congés, de retour le 03/12/2026.", AUTO),
        date(2026, 12, 3),
    ),
    "spanish": (
        mail(
            "Estoy fuera de la oficina hasta el 3 de diciembre de 2026.",
            "Subject: Respuesta automática: A question",
            AUTO,
        ),
        date(2026, 12, 3),
    ),
    "spanish, the return": (
        mail("Estaré de vacaciones. Regreso el 9 de diciembre.", "Precedence: auto_reply"),
        date(2026, 12, 9),
    ),
    "an old day is none": (mail("I was out of office until 3 March 2024.", AUTO), None),
    "a day that is none": (mail("I am out of office until 31 February.", AUTO), None),
}
AWAY["american and clear"] = (
    mail("I am on leave until 12/24/2026.", AUTO),
    date(2026, 12, 24),
)

UNSUBSCRIBES = {
    "one word": mail("Unsubscribe"),
    "one word and a name": mail("STOP\n\n-- \nAnn Example\nAcme Inc."),
    "by the subject": mail("", "Subject: unsubscribe"),
    "me": mail("Please remove me from your mailing list. Thanks, Ann"),
    "off": mail("Take me off, I never asked for this."),
    "stop": mail("Stop emailing me!"),
    "wish": mail("Hi,\n\nI would like to opt out.\n\nAnn"),
    "do not": mail("Do not contact me again."),
    "german": mail("Bitte nehmen Sie mich aus Ihrem Verteiler."),
    "german, no more": mail("Bitte keine weiteren E-Mails."),
    "german word": mail("Abmelden bitte"),
    "french": mail("Bonjour, merci de me désabonner."),
    "french, no more": mail("Je ne souhaite plus recevoir vos messages."),
    "french, take away": mail("Retirez-moi de votre liste."),
    "spanish": mail("Por favor, quiero darme de baja."),
    "spanish, no more": mail("No deseo recibir más correos."),
    "spanish word": mail("Baja"),
    "html only": mail("<p>Please <b>remove me</b> from your list</p>", kind="text/html"),
}

OTHERS = {
    "a ticket": mail(
        "We received your request #4711 and will answer within two days.",
        "Subject: [Ticket 4711] A question",
        "Auto-Submitted: auto-generated",
    ),
    "a receipt": multipart(
        (PLAIN, "Your message was displayed."),
        ("Content-Type: message/disposition-notification", "Disposition: manual; displayed"),
        kind="report; report-type=disposition-notification",
    ),
    "good news of a delivery": dsn("2.0.0", action="relayed"),
    "a robot asks to stop": mail("Do not contact me here.", "Precedence: bulk"),
}


@pytest.mark.parametrize("name", REPLIES)
def test_a_person_replied(name: str) -> None:
    assert kind_of(REPLIES[name]) == Classified(InboundClass.REPLY)


@pytest.mark.parametrize("name", AWAY)
def test_somebody_is_away(name: str) -> None:
    raw, returns_on = AWAY[name]
    assert kind_of(raw) == Classified(InboundClass.OUT_OF_OFFICE, returns_on)


@pytest.mark.parametrize("name", UNSUBSCRIBES)
def test_somebody_wants_no_more(name: str) -> None:
    assert kind_of(UNSUBSCRIBES[name]).kind is InboundClass.UNSUBSCRIBE_REQUEST


@pytest.mark.parametrize("name", OTHERS)
def test_nothing_follows(name: str) -> None:
    assert kind_of(OTHERS[name]).kind is InboundClass.OTHER


@pytest.mark.parametrize("name", ["plain", "empty", "the opposite"])
def test_whatever_comes_to_the_unsubscribe_address_asks_for_that(name: str) -> None:
    found = kind_of(REPLIES[name], to_unsubscribe=True)
    assert found.kind is InboundClass.UNSUBSCRIBE_REQUEST
    assert kind_of(dsn("5.1.1"), to_unsubscribe=True).kind is InboundClass.BOUNCE


LETTER = "This is the mail system. Your message to {to} could not be delivered: {why}"


@pytest.mark.parametrize(
    ("raw", "is_permanent", "status"),
    [
        (dsn("5.1.1"), True, "5.1.1"),
        (dsn("4.4.1", action="delayed"), False, "4.4.1"),
        (dsn("4.2.2"), False, "4.2.2"),
        (
            mail(LETTER.format(to="ann@cust.example", why="550 5.1.1 no such user"), *DAEMON),
            True,
            "5.1.1",
        ),
        (mail(LETTER.format(to="ann@cust.example", why="550 no such user"), *DAEMON), True, None),
        (mail(LETTER.format(to="ann@cust.example", why="mailbox full"), *DAEMON), False, None),
        (
            mail(
                "Die Nachricht an ann@cust.example konnte nicht zugestellt werden. 5.4.14",
                "From: postmaster@cust.example",
                "Subject: Unzustellbar: A question",
            ),
            True,
            "5.4.14",
        ),
        (mail("550 5.7.1 blocked", "X-Failed-Recipients: Ann@Cust.Example"), True, "5.7.1"),
    ],
)
def test_a_mail_did_not_arrive(raw: bytes, is_permanent: bool, status: str | None) -> None:
    assert kind_of(raw).kind is InboundClass.BOUNCE
    bounce = read_mail(raw).bounce
    assert bounce is not None
    assert "ann@cust.example" in bounce.recipients
    assert (bounce.is_permanent, bounce.status) == (is_permanent, status)


def test_a_person_may_write_of_failed_delivery() -> None:
    raw = mail("Your last mail could not be delivered to Bob, 550 5.1.1.")
    assert kind_of(raw).kind is InboundClass.REPLY
    html = multipart((HTML, "<p>It could not be delivered.</p>"), kind="alternative")
    assert kind_of(html).kind is InboundClass.REPLY
