"""One mail to one person, complete, as a provider needs it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(slots=True)  # frozen takes ten times as long to make
class Mail:
    """What one request hands over; addresses in normal form, text and HTML with their footer."""

    tenant_id: UUID
    message_id: UUID
    attempt: int
    campaign_id: UUID
    to_address: str
    from_address: str
    from_name: str
    reply_to: str | None
    subject: str
    text: str
    html: str
    unsubscribe_url: str
    unsubscribe_mailto: str | None
    is_tracking_opens: bool
    is_tracking_clicks: bool
    ip_pool: str | None = None
