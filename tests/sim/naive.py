"""What a queue with at-least-once delivery does: the judge must find it out."""

from __future__ import annotations

from typing import LiteralString

import aiohttp

from outreach.db import Database
from outreach.dev.sandbox import SandboxServer
from tests.support.factories import run

UNSURE: LiteralString = """
select m.id::text, a.attempt, m.tenant_id::text, m.to_address, m.from_address, m.subject,
  m.body_text
from outbound_messages m
join send_attempts a on a.tenant_id = m.tenant_id and a.message_id = m.id
where a.outcome in ('armed', 'unknown')
"""


async def send_again(db: Database, sandbox: SandboxServer) -> None:
    """What a queue with at-least-once delivery does: send again whatever has no answer."""
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer SG.test"}) as client:
        for id_, attempt, tenant, to, sender, subject, text in await run(db, UNSURE):
            mail = {
                "personalizations": [{"to": [{"email": to}]}],
                "from": {"email": sender},
                "subject": subject,
                "content": [{"type": "text/plain", "value": text}],
                "custom_args": {
                    "outreach_message_id": id_,
                    "outreach_attempt": str(attempt),
                    "outreach_tenant": tenant,
                },
            }
            async with client.post(f"{sandbox.url}/v3/mail/send", json=mail) as answer:
                assert answer.status in (202, 400, 429), "taken, or refused as ordered"
