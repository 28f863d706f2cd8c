"""Reading mails: encodings, parts within parts, history cut off, and what no mail should be."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outreach.core.replies import Attachment, BadMail, read_mail
from outreach.core.replies_class import classify
from outreach.core.replies_html import html_to_text, safe_html
from outreach.core.replies_text import own_words
from tests.core.mails import HTML, OURS, PLAIN, TO, dsn, mail, multipart

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_a_mail_is_read_whole() -> None:
    found = read_mail(
        mail(
            "Yes.",
            "Cc: Bob <bob@cust.example>, carl@cust.example",
            "References: <first@acme.example> <second@acme.example>",
            "Delivered-To: in@acme.example",
        )
    )
    assert (found.from_name, found.from_address) == ("Ann Example", "Ann@cust.example")
    assert found.to == (TO, "bob@cust.example", "carl@cust.example", "in@acme.example")
    assert (found.subject, found.text, found.html) == ("Re: A question", "Yes.", None)
    assert found.mail_id == "CAF=one@mail.cust.example"
    assert found.references == (f"{OURS}@acme.example", "second@acme.example", "first@acme.example")
    assert found.sent_at == datetime(2026, 11, 23, 9, tzinfo=UTC)
    assert (found.marks, found.bounce, found.attachments) == ((), None, ())


ENCODED = {
    "quoted-printable": mail("Gr=C3=BC=\n=C3=9Fe", "Content-Transfer-Encoding: quoted-printable"),
    "base64": mail(base64.encodebytes("Grüße".encode()), "Content-Transfer-Encoding: base64"),
    "latin-1": mail("Grüße".encode("latin-1"), kind="text/plain; charset=iso-8859-1"),
    "a charset that nobody knows": mail("Grüße", kind="text/plain; charset=x-unknown-9"),
    "a charset that is not true": mail("Grüße".encode("cp1252"), kind="text/plain; charset=utf-8"),
    "no charset": mail("Grüße", kind="text/plain"),
    "utf-16": mail("Grüße".encode("utf-16"), kind="text/plain; charset=utf-16"),
    "html": mail("<p>Gr&uuml;&szlig;e</p>", kind="text/html; charset=us-ascii"),
    "no mime at all": b"From: a@b.example\r\nTo: c@d.example\r\n\r\nGr\xc3\xbc\xc3\x9fe",
    "only line feeds": b"From: a@b.example\nTo: c@d.example\n\nGr\xc3\xbc\xc3\x9fe",
}


@pytest.mark.parametrize("name", ENCODED)
def test_the_text_is_read_in_whatever_it_is_written(name: str) -> None:
    assert read_mail(ENCODED[name]).text == "Grüße"


@pytest.mark.parametrize(
    ("header", "subject"),
    [
        ("Subject: =?utf-8?B?R3LDvMOfZQ==?=", "Grüße"),
        (
            "Subject: =?iso-8859-1?Q?Gr=FC=DFe?= =?utf-8?Q?_an_?=\r\n =?utf-8?Q?Ann?=",
            "Grüße an Ann",
        ),
        ("Subject: Grüße", "Grüße"),
        ("Subject: Gr\udcfc\udcdfe", "Grüße"),
        ("Subject: =?nowhere?Q?Gr=FC=DFe?=", "Grüße"),
        ("Subject: =?utf-8?B?!!!?=", None),
        ("Subject: folded\r\n\tonce", "folded once"),
        ("Subject:", ""),
        ("Subject: a\x00b", "a\ufffdb"),
    ],
)
def test_the_subject_is_decoded(header: str, subject: str | None) -> None:
    found = read_mail(mail("x", header)).subject
    assert found == subject if subject is not None else isinstance(found, str)


@pytest.mark.parametrize(
    "line",
    ["Date: yesterday", "Date: Mon, 99 Nov 2026 10:00:00", "Date:", "Date: 1 Jan 0001 00:00 +9999"],
)
def test_a_date_that_is_none_is_none(line: str) -> None:
    assert read_mail(mail("x", line)).sent_at is None


def test_parts_within_parts_are_found() -> None:
    inner = (
        'Content-Type: multipart/alternative; boundary="in"',
        f"--in\n{PLAIN}\n\nYes, gladly.\n--in\n{HTML}\n\n<p>Yes, <b>gladly</b>."
        "<script>x()</script></p>\n--in--",
    )
    raw = multipart(
        inner,
        (
            "Content-Type: application/pdf; name=x\nContent-Transfer-Encoding: base64\n"
            'Content-Disposition: attachment; filename="=?utf-8?q?Gr=C3=BC=C3=9Fe=2Epdf?="',
            base64.b64encode(b"%PDF-1.7").decode(),
        ),
        (
            "Content-Type: text/plain\nContent-Disposition: attachment; filename=a.txt",
            "unsubscribe",
        ),
        kind="mixed",
    )
    found = read_mail(raw)
    assert found.text == "Yes, gladly."
    assert found.html is not None
    assert "<script" not in found.html
    assert "<b>gladly</b>" in found.html
    assert found.attachments == (
        Attachment("Grüße.pdf", "application/pdf", 8),
        Attachment("a.txt", "text/plain", 11),
    )


def test_a_mail_that_is_cut_off_is_read_as_far_as_it_goes() -> None:
    raw = multipart((PLAIN, "Yes."), ("Content-Type: image/png", "A" * 5000))
    assert read_mail(raw[:900]).text == "Yes."


def test_what_a_report_sends_back_is_a_reference() -> None:
    assert f"{OURS}@acme.example" in read_mail(dsn("5.1.1")).references


def test_what_says_that_a_machine_wrote_it_is_kept() -> None:
    found = read_mail(
        mail("x", "Auto-Submitted: auto-replied; x=y", "X-Autoreply: yes", "Return-Path: <>")
    )
    assert found.marks == ("auto-submitted:auto-replied", "x-autoreply", "return-path:empty")


HISTORY = [
    ("Yes.\n\nOn Mon, Nov 23, 2026 at 9:00 AM Ana <ana@acme.example> wrote:\n> Hi", "Yes."),
    (
        "Yes.\n\nOn Mon, Nov 23, 2026 at 9:00 AM\nAna Long Name <ana@acme.example>\nwrote:\n\nHi",
        "Yes.",
    ),
    ("Ja.\n\nAm Mo., 23. Nov. 2026 um 09:00 Uhr schrieb Ana <ana@acme.example>:\n> Hi", "Ja."),
    ("Oui.\n\nLe lun. 23 nov. 2026 à 09:00, Ana <ana@acme.example> a écrit :\n> Hi", "Oui."),
    ("Sí.\n\nEl lun, 23 nov 2026 a las 9:00, Ana (<ana@acme.example>) escribió:\n> Hi", "Sí."),
    ("Yes.\n\n-----Original Message-----\nFrom: Ana\nHi", "Yes."),
    ("Ja.\n\n-----Ursprüngliche Nachricht-----\nVon: Ana\nHi", "Ja."),
    ("Oui.\n\n________________________________\nDe : Ana\nEnvoyé : lundi\nÀ : Ann\n\nHi", "Oui."),
    ("Sí.\n\nDe: Ana\nEnviado el: lunes\nPara: Ann\n\nHi", "Sí."),
    ("Yes.\n-- \nAnn\nAcme", "Yes."),
    ("Yes.\n\nSent from my iPhone", "Yes."),
    ("> Hi Ann, may I call?\nYes.\n> When?\nTomorrow.", "Yes.\nTomorrow."),
    ("On Mon, Ana <a@b.example> wrote:\n> Hi\n\nYes, below.", "Yes, below."),
    ("On Monday I wrote: no.\nToday yes.", "On Monday I wrote: no.\nToday yes."),
    ("> only history", ""),
]


@pytest.mark.parametrize(("text", "kept"), HISTORY)
def test_history_and_signature_are_left_out(text: str, kept: str) -> None:
    assert own_words(text) == kept


def test_history_in_html_is_left_out_of_its_text() -> None:
    html = (
        "<div>Yes,<br>tomorrow.</div><div class='gmail_quote'>On Mon Ana wrote:"
        "<blockquote>unsubscribe</blockquote></div>"
    )
    assert own_words(html_to_text(html)) == "Yes,\ntomorrow."
    assert own_words(html_to_text("<p>Yes.</p><blockquote><p>Hi</p>there</blockquote>")) == "Yes."


@pytest.mark.parametrize(
    "html",
    [
        "<script>alert(1)</script>",
        "<img src=https://spy.example/x.gif onerror=alert(1)>",
        '<a href="javascript:alert(1)">x</a>',
        '<a href="data:text/html,x">x</a>',
        '<div style="position:fixed" onclick="x()">x</div>',
        "<form action=https://spy.example><input></form>",
        "<iframe src=https://spy.example></iframe>",
        "<svg><a xlink:href='javascript:alert(1)'>x</a></svg>",
        "<math><mtext><style><img src=x onerror=alert(1)></style></mtext></math>",
        "<base href=https://spy.example><meta http-equiv=refresh content=0>",
    ],
)
def test_html_is_harmless(html: str) -> None:
    safe = safe_html(html).lower()
    for word in ("<script", "javascript:", "onerror", "onclick", "style=", "<img", "<form", "spy."):
        assert word not in safe
    for word in ("data:", "<iframe", "<svg", "<base", "<meta"):
        assert word not in safe


def test_links_stay_and_say_that_they_are_a_strangers() -> None:
    safe = safe_html('<p>See <a href="https://cust.example/x" target=_top>this</a></p>')
    assert 'href="https://cust.example/x"' in safe
    assert 'rel="noopener noreferrer nofollow"' in safe


@pytest.mark.parametrize("raw", [b"", b"no headers here", b"\r\n\r\nbody", b"\x00\xff\xfe"])
def test_what_is_no_mail_is_said_to_be_none(raw: bytes) -> None:
    with pytest.raises(BadMail):
        read_mail(raw)


def test_depth_and_number_of_parts_have_an_end() -> None:
    deep = b"From: a@b.example\r\n"
    for n in range(300):
        deep += b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
    with pytest.raises(BadMail):
        read_mail(deep)


def test_what_is_very_long_is_cut() -> None:
    found = read_mail(
        mail("x" * 3_000_000, "Subject: " + "y" * 100_000, "To: " + "a@b.example," * 9000)
    )
    assert len(found.subject) <= 4_000
    assert len(found.text) <= 100_000
    assert len(found.to) <= 50


PIECES = [
    *(b"Content-Type: multipart/mixed; boundary=x", b"\r\n", b"\r\n\r\n", b"--x", b"--x--"),
    *(b"From: ", b"To: a@b", b"Subject: =?utf-8?q?", b"Content-Type: message/rfc822", b"<"),
    *(b"Content-Type: message/delivery-status", b"Content-Transfer-Encoding: base64"),
    *(b"Content-Type: text/html; charset=utf-7", b"Final-Recipient: rfc822;", b"\xff\x00"),
    *(b"Action: failed", b"Date: ", b"Message-ID: <", b"until 3/4", b"\xe2\x80"),
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_nothing_raises_but_bad_mail(pieces: list[bytes]) -> None:
    try:
        found = read_mail(b"".join(pieces))
    except BadMail:
        return
    classify(found, NOW, is_unsubscribe_address=False)
    for text in (found.text, found.subject, found.from_name, found.html or ""):
        assert "\x00" not in text
        text.encode("utf-8")
