"""Who comes into a campaign, who does not and why."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import UUID

import pytest

from outreach.core.errors import Conflict, Invalid, NotFound
from outreach.core.states import SuppressionReason
from outreach.db import Database, Role
from outreach.services import suppress
from outreach.services.campaign_control import pause, stop
from outreach.services.enroll import PAGE_ROWS, Addresses, Enrolled, enroll
from outreach.services.launch import launch
from outreach.services.suppress import SuppressionEntry
from tests.support.campaigns import (
    enroll_all,
    enroll_lines,
    enroll_where,
    new_campaign,
    new_contacts,
    new_sender,
)
from tests.support.people import ACTOR, ask, new_tenant


@pytest.fixture
async def tenant_id(db: Database) -> UUID:
    """A tenant with a verified sender and the draft campaign Spring."""
    tenant_id = await new_tenant(db)
    await new_sender(db, tenant_id)
    await new_campaign(db, tenant_id)
    return tenant_id


async def test_everybody_comes_in_once(db: Database, tenant_id: UUID) -> None:
    await new_contacts(db, tenant_id, PAGE_ROWS + 5)
    assert await enroll_all(db, tenant_id) == Enrolled(PAGE_ROWS + 5, {})
    assert await enroll_all(db, tenant_id) == Enrolled(0, {"already_enrolled": PAGE_ROWS + 5})


async def test_nobody_is_there_to_enroll(db: Database, tenant_id: UUID) -> None:
    assert await enroll_all(db, tenant_id) == Enrolled(0, {})


async def test_each_line_of_a_file_is_accounted_for(db: Database, tenant_id: UUID) -> None:
    await new_contacts(db, tenant_id, 3)
    lines = ("c1@example.com\n", " C2@EXAMPLE.com", "", "c2@example.com", "x@example.com", "what?")
    enrolled = await enroll_lines(db, tenant_id, *lines)
    assert enrolled == Enrolled(2, {"address_invalid": 1, "duplicate": 1, "unknown_contact": 1})


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("country = 'US'", 6),
        ("country != 'US'", 6),
        ("country = ''", 6),
        ("country = 'US' and attributes.tier = 0", 2),
        ("attributes.tier in (1, 2)", 8),
        ("attributes.tier not in (1, 2)", 4),
        ("attributes.none = 'x'", 0),
        ("domain = 'EXAMPLE.com' and email != 'C1@example.com'", 11),
        ("first_name = 'Person 1'' or 1=1'", 0),
    ],
)
async def test_an_expression_picks(db: Database, tenant_id: UUID, where: str, count: int) -> None:
    await new_contacts(db, tenant_id, 12)
    assert await enroll_where(db, tenant_id, where) == Enrolled(count, {})


async def test_a_bad_expression_enrolls_nobody(db: Database, tenant_id: UUID) -> None:
    await new_contacts(db, tenant_id, 1)
    with pytest.raises(Invalid):
        await enroll_where(db, tenant_id, "country like 'U%'")
    assert await ask(db, tenant_id, "select count(*) from enrollments") == [(0,)]


async def test_who_must_not_be_written_to_is_skipped(db: Database, tenant_id: UUID) -> None:
    await new_contacts(db, tenant_id, 5)
    async with db.transaction(Role.APP, tenant_id) as tx:
        await tx.execute("update contacts set erased_at = now() where email = 'c1@example.com'")
        await tx.execute(
            "update contacts set address_verdict = 'invalid' where email = 'c2@example.com'"
        )
    entry = SuppressionEntry("c3@example.com", SuppressionReason.MANUAL, "test")
    await suppress.add(db, tenant_id, [entry], actor=ACTOR)
    assert await enroll_all(db, tenant_id) == Enrolled(
        2, {"address_invalid": 1, "contact_erased": 1, "suppressed": 1}
    )
    domain = SuppressionEntry("@other.example", SuppressionReason.LEGAL, "test")
    await suppress.add(db, tenant_id, [domain], actor=ACTOR)
    async with db.transaction(Role.APP, tenant_id) as tx:
        await tx.execute(
            "insert into contacts (tenant_id, email) values (app_tenant(), 'd@other.example')"
        )
    assert await enroll_lines(db, tenant_id, "d@other.example") == Enrolled(0, {"suppressed": 1})


async def test_a_contact_is_in_one_campaign_at_a_time(db: Database, tenant_id: UUID) -> None:
    await new_contacts(db, tenant_id, 2)
    await new_campaign(db, tenant_id, "Autumn")
    assert (await enroll_lines(db, tenant_id, "c1@example.com")).enrolled == 1
    autumn = await enroll_all(db, tenant_id, "Autumn")
    assert autumn == Enrolled(1, {"enrolled_elsewhere": 1})
    await stop(db, tenant_id, "Spring", actor=ACTOR)
    assert await enroll_all(db, tenant_id, "Autumn") == Enrolled(1, {"already_enrolled": 1})


async def test_where_the_tenant_allows_it_a_contact_is_in_two(
    db: Database, tenant_id: UUID
) -> None:
    await new_contacts(db, tenant_id, 1)
    await new_campaign(db, tenant_id, "Autumn")
    async with db.transaction(Role.OPERATOR) as tx:
        await tx.execute("update tenants set one_live_enrollment = false")
    assert (await enroll_all(db, tenant_id)).enrolled == 1
    assert (await enroll_all(db, tenant_id, "Autumn")).enrolled == 1


async def test_two_enrolls_at_once_put_nobody_into_two_campaigns(
    db: Database, tenant_id: UUID
) -> None:
    await new_contacts(db, tenant_id, 3 * PAGE_ROWS)
    await new_campaign(db, tenant_id, "Autumn")
    spring, autumn = await asyncio.gather(
        enroll_all(db, tenant_id), enroll_all(db, tenant_id, "Autumn")
    )
    assert spring.enrolled + autumn.enrolled == 3 * PAGE_ROWS
    assert sum(spring.skipped.values()) + sum(autumn.skipped.values()) == 3 * PAGE_ROWS
    twice = "select contact_id from enrollments group by contact_id having count(*) > 1"
    assert await ask(db, tenant_id, twice) == []


async def test_into_an_active_campaign_they_start_at_once(db: Database, tenant_id: UUID) -> None:
    await launch(db, tenant_id, "Spring", actor=ACTOR)
    await new_contacts(db, tenant_id, 2)
    assert (await enroll_all(db, tenant_id)).enrolled == 2
    due = "select state::text, node_id, due_at <= now(), held_by from scheduled_actions"
    assert await ask(db, tenant_id, due) == [("pending", "intro", True, None)] * 2


async def test_into_a_paused_campaign_they_come_held(db: Database, tenant_id: UUID) -> None:
    await launch(db, tenant_id, "Spring", actor=ACTOR)
    await pause(db, tenant_id, "Spring", actor=ACTOR)
    await new_contacts(db, tenant_id, 1)
    assert (await enroll_all(db, tenant_id)).enrolled == 1
    held = "select e.state::text, a.held_by from scheduled_actions a, enrollments e"
    assert await ask(db, tenant_id, held) == [("active", "campaign")]


async def test_into_a_completed_campaign_they_make_it_active(db: Database, tenant_id: UUID) -> None:
    await launch(db, tenant_id, "Spring", actor=ACTOR)
    async with db.transaction(Role.APP, tenant_id) as tx:
        await tx.execute(
            "update campaigns set state = 'completed', ended_at = now(), end_reason = 'completed'"
        )
    await new_contacts(db, tenant_id, 1)
    assert (await enroll_all(db, tenant_id)).enrolled == 1
    states = "select c.state::text, e.state::text from campaigns c, enrollments e"
    assert await ask(db, tenant_id, states) == [("active", "active")]


async def test_into_a_stopped_campaign_nobody_comes(db: Database, tenant_id: UUID) -> None:
    await new_contacts(db, tenant_id, 1)
    await stop(db, tenant_id, "Spring", actor=ACTOR)
    with pytest.raises(Conflict):
        await enroll_all(db, tenant_id)
    with pytest.raises(Conflict):
        await enroll_lines(db, tenant_id)


async def test_a_crash_leaves_whole_pages_and_a_second_run_does_the_rest(
    db: Database, tenant_id: UUID
) -> None:
    await new_contacts(db, tenant_id, PAGE_ROWS + 10)

    def lines(is_broken: bool) -> Iterator[str]:
        for n in range(1, PAGE_ROWS + 11):
            if is_broken and n > PAGE_ROWS + 5:
                raise OSError("the disk is gone")
            yield f"c{n}@example.com"

    with pytest.raises(OSError, match="disk"):
        await enroll(db, tenant_id, "Spring", Addresses(lines(True)), actor=ACTOR)
    assert await ask(db, tenant_id, "select count(*) from enrollments") == [(PAGE_ROWS,)]
    again = await enroll(db, tenant_id, "Spring", Addresses(lines(False)), actor=ACTOR)
    assert again == Enrolled(10, {"already_enrolled": PAGE_ROWS})


async def test_another_tenants_campaign_and_contacts_are_not_there(
    db: Database, tenant_id: UUID
) -> None:
    other = await new_tenant(db, "other")
    await new_sender(db, other)
    await new_contacts(db, other, 2, prefix="o")
    with pytest.raises(NotFound):
        await enroll_all(db, other)
    spring = await ask(db, tenant_id, "select id from campaigns")
    with pytest.raises(NotFound):
        await enroll_all(db, other, str(spring[0][0]))
    assert await enroll_lines(db, tenant_id, "o1@example.com") == Enrolled(
        0, {"unknown_contact": 1}
    )
