"""What the provider says of the account: it stops everybody once, and only a person resumes."""

from __future__ import annotations

from typing import Any

import pytest

from outreach.db import Database, Role
from outreach.services.apply_events import apply_deliveries, apply_events
from outreach.services.control import resume_installation
from outreach.store.deliveries import claim_deliveries
from tests.support.factories import event, make_campaign, make_tenant, receive, run
from tests.support.stories import sent, stored

PAUSED = "select provider_pause_reason from installation where provider_paused_at is not null"
ALARMS = (
    "select tenant_id, code, subject, closed_at is not null, detail ->> 'change' from incidents"
    " order by tenant_id"
)


def news(change: str, event_id: str = "news") -> dict[str, Any]:
    """As the provider sends it: no address and no message."""
    name = "account_status_change"
    return {"event": name, "type": change, "sg_event_id": event_id, "timestamp": 1_764_000_500}


@pytest.mark.parametrize("change", ["suspend", "deactivate", "ban"])
async def test_it_stops_everybody_with_an_alarm_for_each_who_sends(
    db: Database, change: str
) -> None:
    message = await sent(db)
    other = await make_campaign(db)
    await make_tenant(db)  # sends nothing, and is told nothing
    await receive(db, news(f"compliance_{change}"), event(message, "delivered"))
    await apply_events(db)
    word = f"compliance_{change}"
    assert await run(db, PAUSED) == [(word,)]
    assert await run(db, ALARMS) == [
        (tenant_id, "account_forbidden", "sendgrid", False, word)
        for tenant_id in sorted([message.tenant_id, other.tenant_id])
    ]
    assert await stored(db, message) == [("delivered", False)]


async def test_only_a_person_resumes_and_a_repeat_does_not_stop_again(db: Database) -> None:
    await make_campaign(db)
    await receive(db, news("compliance_suspend"))
    await apply_events(db)
    await receive(db, news("reactivate", "later"))
    await apply_events(db)
    assert await run(db, PAUSED) == [("compliance_suspend",)]
    await resume_installation(db, actor="ana")
    await receive(db, news("compliance_suspend"))
    await apply_events(db)
    assert await run(db, PAUSED) == []
    assert [is_closed for *_, is_closed, _ in await run(db, ALARMS)] == [True]
    await receive(db, news("compliance_ban", "another"))
    await apply_events(db)
    assert await run(db, PAUSED) == [("compliance_ban",)]
    assert [row[3:] for row in await run(db, ALARMS)] == [(False, "compliance_ban")]


async def test_a_crash_between_the_news_and_its_pause_leaves_neither(db: Database) -> None:
    await make_campaign(db)
    await receive(db, news("compliance_suspend"))
    with pytest.raises(ZeroDivisionError):
        async with db.transaction(Role.WORKER) as tx:
            await apply_deliveries(tx, await claim_deliveries(tx, rows_max=9, bytes_max=10**9))
            raise ZeroDivisionError
    assert await run(db, PAUSED) == []
    assert await run(db, ALARMS) == []
    await apply_events(db)
    assert await run(db, PAUSED) == [("compliance_suspend",)]


@pytest.mark.parametrize("change", ["reactivate", "something_new", ""])
async def test_other_news_is_kept_and_stops_nobody(db: Database, change: str) -> None:
    await receive(db, news(change))
    await apply_events(db)
    assert await run(db, PAUSED) == []
    kept = await run(db, "select provider_event_id, reason from unmatched_events")
    assert kept == [("news", "account_event")]
