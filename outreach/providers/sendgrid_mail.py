"""The body of `POST /v3/mail/send` for one mail.

Built by hand because it is made thousands of times a second; a test compares it with what the
`sendgrid` package's own builder makes of the same mail.

Source: SendGrid's OpenAPI description of mail/send; RFC 8058 for the two unsubscribe headers.
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


def custom_args(mail: Mail) -> Mapping[str, str]:
    """What comes back in every event of this attempt."""
    return {
        "outreach_message_id": str(mail.message_id),
        "outreach_attempt": str(mail.attempt),
        "outreach_tenant": str(mail.tenant_id),
    }
