"""The body of `POST /v3/mail/send` for one mail.

Built by hand because it is made thousands of times a second; a test compares it with what the
`sendgrid` package's own builder makes of the same mail.

Every attempt of a message has the same Message-ID: some mailboxes show two copies as one. It holds
both ids, so that an event that has lost our custom args is still matched by its `smtp-id`.

Source: SendGrid's OpenAPI description of mail/send (Message-ID is not among its reserved headers;
whether it comes through was not tried on a live account); RFC 8058 for the two unsubscribe headers.
"""

from __future__ import annotations

from collections.abc import Mapping

from outreach.core.mail import Mail


def mail_body(mail: Mail) -> dict[str, object]:
    """One personalization with one recipient; ids of ours and nothing personal in custom args."""
    mailto = "" if mail.unsubscribe_mailto is None else f", <mailto:{mail.unsubscribe_mailto}>"
    body: dict[str, object] = {
        "personalizations": [{"to": [{"email": mail.to_address}]}],
        "from": {"email": mail.from_address, "name": mail.from_name},
        "subject": mail.subject,
        "content": [
            {"type": "text/plain", "value": mail.text},
            {"type": "text/html", "value": mail.html},
        ],
        "custom_args": custom_args(mail),
        "headers": {
            "Message-ID": message_id_header(mail),
            "List-Unsubscribe": f"<{mail.unsubscribe_url}>{mailto}",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
        "categories": [str(mail.campaign_id)],
        "tracking_settings": {
            "click_tracking": {"enable": mail.is_tracking_clicks, "enable_text": False},
            "open_tracking": {"enable": mail.is_tracking_opens},
            # Ours are the unsubscribe headers; SendGrid's own would stand beside them.
            "subscription_tracking": {"enable": False},
        },
    }
    if mail.reply_to is not None:
        body["reply_to"] = {"email": mail.reply_to}
    if mail.ip_pool is not None:
        body["ip_pool_name"] = mail.ip_pool
    return body


def message_id_header(mail: Mail) -> str:
    """The same for every attempt; `core.provider_events` reads it."""
    local = f"{mail.message_id.hex}.{mail.tenant_id.hex}"
    return f"<{local}@{mail.from_address.rpartition('@')[2]}>"


def custom_args(mail: Mail) -> Mapping[str, str]:
    """What comes back in every event of this attempt."""
    return {
        "outreach_message_id": str(mail.message_id),
        "outreach_attempt": str(mail.attempt),
        "outreach_tenant": str(mail.tenant_id),
    }
