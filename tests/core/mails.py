"""Mails as the world sends them, written by hand: one short string each, lines as on the wire."""

from __future__ import annotations

OURS = "0198c0de00007000800000000000000a.0198c0de0000700080000000000000ff"
TO = "r+0198c0de00007000800000000000000a@in.acme.example"


def mail(body: str | bytes, *headers: str, kind: str = "text/plain; charset=utf-8") -> bytes:
    """A mail with these headers; what it does not say itself is as in most mails."""
    names = {header.partition(":")[0].lower() for header in headers}
    usual = [
        "From: Ann Example <Ann@Cust.Example>",
        f"To: {TO}",
        "Subject: Re: A question",
        "Date: Mon, 23 Nov 2026 10:00:00 +0100",
        "Message-ID: <CAF=one@mail.cust.example>",
        f"In-Reply-To: <{OURS}@acme.example>",
        "MIME-Version: 1.0",
        f"Content-Type: {kind}",
    ]
    lines = [line for line in usual if line.partition(":")[0].lower() not in names]
    data = body if isinstance(body, bytes) else body.encode()
    head = "\r\n".join([*lines, *headers]).encode("utf-8", "surrogateescape")
    return head + b"\r\n\r\n" + data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def parts(*parts: tuple[str, str], kind: str = "mixed") -> bytes:
    """The body of a multipart whose boundary is `b-KIND`; each part is its headers and text."""
    boundary = f"b-{kind.partition(';')[0]}"
    each = [f"--{boundary}\n{headers}\n\n{text}\n" for headers, text in parts]
    return ("".join(each) + f"--{boundary}--\n").encode()


def multipart(*given: tuple[str, str], kind: str = "mixed", headers: tuple[str, ...] = ()) -> bytes:
    """A mail of several parts; `kind` may carry further parameters."""
    boundary = f"b-{kind.partition(';')[0]}"
    return mail(parts(*given, kind=kind), *headers, kind=f'multipart/{kind}; boundary="{boundary}"')


PLAIN = "Content-Type: text/plain; charset=utf-8"
HTML = "Content-Type: text/html; charset=utf-8"
STATUS = "Content-Type: message/delivery-status"

REPORT = "report; report-type=delivery-status"
DAEMON = (
    "From: Mail Delivery System <MAILER-DAEMON@mx.cust.example>",
    "Subject: Undelivered Mail Returned to Sender",
    "Auto-Submitted: auto-replied",
    "Return-Path: <>",
)


def dsn(status: str, action: str = "failed", to: str = "ann@cust.example") -> bytes:
    """A delivery status notification as Postfix writes it."""
    return multipart(
        (PLAIN, "This is the mail system at host mx.cust.example.\n\nI'm sorry."),
        (
            STATUS,
            "Reporting-MTA: dns; mx.cust.example\nArrival-Date: Mon, 23 Nov 2026 09:00:00 +0000\n\n"
            f"Final-Recipient: rfc822; {to}\nOriginal-Recipient: rfc822;Ann@Cust.Example\n"
            f"Action: {action}\nStatus: {status}\n"
            "Diagnostic-Code: smtp; 550 5.1.1 <ann@cust.example>: user unknown",
        ),
        (
            "Content-Type: message/rfc822",
            f"Message-ID: <{OURS}@acme.example>\nFrom: ana@acme.example\nSubject: A\n\nHi.",
        ),
        kind=REPORT,
        headers=DAEMON,
    )
