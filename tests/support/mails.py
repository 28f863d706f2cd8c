"""Inbound Parse's posts, and mails that answer messages of ours."""

from __future__ import annotations

import json

from tests.support.factories import Message

FORM_TYPE = "multipart/form-data; boundary=xYzZY"


def form(mail: bytes, *, to: str = "r@in.acme.example", sender: str = "ann@cust.example") -> bytes:
    """The body of a post in raw mode."""
    fields = {
        "dkim": b"{@cust.example : pass}",
        "email": mail,
        "to": to.encode(),
        "envelope": json.dumps({"to": [to], "from": sender}).encode(),
        "SPF": b"pass",
    }
    parts = [
        f'--xYzZY\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
        + value
        + b"\r\n"
        for name, value in fields.items()
    ]
    return b"".join(parts) + b"--xYzZY--\r\n"


def answer(
    message: Message, body: str = "Yes, call me.", *headers: str, kind: str = "text/plain"
) -> bytes:
    """A mail of the message's contact that names the message as mail programs do."""
    names = {header.partition(":")[0].lower() for header in headers}
    own = f"{message.id.hex}.{message.tenant_id.hex}@acme.example"
    usual = [
        f"From: Ann <{message.enrollment.email}>",
        "To: Ana <ana@acme.example>",
        "Subject: Re: Subject",
        "Message-ID: <answer@mail.cust.example>",
        f"In-Reply-To: <{own}>",
        f"Content-Type: {kind}; charset=utf-8",
    ]
    lines = [line for line in usual if line.partition(":")[0].lower() not in names]
    return "\r\n".join([*lines, *headers, "", body]).encode()


def bounced(message: Message, *, to: str | None = None, status: str = "5.1.1") -> bytes:
    """A server's report that the message did not arrive."""
    recipient = to or message.enrollment.email
    body = (
        "--b\r\nContent-Type: text/plain\r\n\r\nI'm sorry.\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx\r\n\r\n"
        f"Final-Recipient: rfc822; {recipient}\r\nAction: failed\r\nStatus: {status}\r\n"
        "--b\r\nContent-Type: text/rfc822-headers\r\n\r\n"
        f"Message-ID: <{message.id.hex}.{message.tenant_id.hex}@acme.example>\r\n\r\n--b--\r\n"
    )
    return answer(
        message,
        body,
        "From: MAILER-DAEMON@mx.cust.example",
        "In-Reply-To: ",
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b",
    )
