"""A contact's story: every fact, in its order, in words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest

from outreach.cli.explain import told
from outreach.core.errors import NotFound
from outreach.db import Database
from outreach.services.apply_events import apply_events
from outreach.services.explain import entry, explain
from outreach.services.messages import Word, settle
from outreach.store.explain import Person, StoryRow
from tests.support.campaigns import enroll_all, new_campaign, new_contacts, new_sender
from tests.support.factories import event, receive
from tests.support.people import ask, new_contact, new_tenant
from tests.support.unknowns import HOUR, unknown

# What the services would have written from 1 to 10 March, at moments that do not change.
HISTORY: tuple[LiteralString, ...] = (
    """
    update contacts set first_name = 'Ann', last_name = 'Lee', created_at = '2026-03-01 09:00Z'
    """,
    """
    update enrollments set created_at = '2026-03-01 09:01Z', state = 'active',
      current_node_id = 'bump', visits = '{"intro": 1, "bump": 1}', entered_at = '2026-03-05 10:00Z'
    """,
    """
    insert into scheduled_actions
      (tenant_id, id, enrollment_id, campaign_id, sender_id, node_id, visit, kind, due_at, state)
    select tenant_id, '00000000-0000-0000-0000-0000000000a1', id, campaign_id, sender_id,
      'intro', 1, 'send', '2026-03-02 08:00Z', 'done' from enrollments
    """,
    """
    insert into scheduled_actions
      (tenant_id, enrollment_id, campaign_id, sender_id, node_id, visit, kind, due_at)
    select tenant_id, id, campaign_id, sender_id, 'bump', 1, 'send', '2036-03-11 08:00Z'
    from enrollments
    """,
    """
    insert into campaign_transitions (tenant_id, enrollment_id, from_node_id, to_node_id, visit,
      trigger, code, reason, occurred_at)
    select e.tenant_id, e.id, t.* from enrollments e, (values
      (null, 'intro', 1, null, 'entered', null, '2026-03-01 09:02Z'::timestamptz),
      ('intro', 'bump', 1, 'no_open', 'timer', null, '2026-03-05 10:00Z'),
      ('bump', null, 1, 'unsubscribed', 'stopped', 'suppressed_unsubscribe', '2026-03-09 12:00Z')
    ) as t
    """,
    """
    insert into send_refusals
      (tenant_id, enrollment_id, action_id, verdict, reason, detail, until, created_at)
    select a.tenant_id, a.enrollment_id, a.id, 'hold', r.* from scheduled_actions a, (values
      ('outside_hours', '{}'::jsonb, '2026-03-02 08:00Z'::timestamptz,
        '2026-03-01 09:03Z'::timestamptz),
      ('provider_later', '{"status": 429, "text": "slow down"}', '2026-03-02 08:20Z',
        '2026-03-02 08:00:03Z')
    ) as r where a.node_id = 'intro'
    """,
    """
    insert into outbound_messages (tenant_id, id, enrollment_id, campaign_id, contact_id, sender_id,
      action_id, node_id, visit, dedupe_key, to_address, to_domain, from_address, from_name,
      subject, body_text, body_html, created_at, wake_at)
    select e.tenant_id, '00000000-0000-0000-0000-0000000000b1', e.id, e.campaign_id, e.contact_id,
      e.sender_id, '00000000-0000-0000-0000-0000000000a1', 'intro', 1, 'k', 'ann@example.com',
      'example.com', 'ana@acme.example', 'Ana', 'Hello', 't', 'h', '2026-03-02 08:00:01Z', now()
    from enrollments e
    """,
    """
    insert into send_attempts (tenant_id, message_id, attempt, outcome, armed_at, deadline_at,
      settled_at, settled_by, http_status, detail)
    select tenant_id, id, a.* from outbound_messages, (values
      (1::smallint, 'rejected'::attempt_outcome, '2026-03-02 08:00:01Z'::timestamptz, now(),
        '2026-03-02 08:00:02Z'::timestamptz, 'answer', 429::smallint, 'slow down'),
      (2::smallint, 'accepted', '2026-03-02 08:20Z', now(), '2026-03-02 08:20:01Z', 'event', null,
        null)
    ) as a
    """,
    """
    insert into message_events (tenant_id, provider, provider_event_id, outbound_message_id,
      enrollment_id, event_type, event_at, is_machine, detail)
    select tenant_id, 'sendgrid', v.id, outbound_messages.id, enrollment_id, v.type, v.at,
      v.is_machine, '{}'
    from outbound_messages, (values
      ('1', 'delivered'::event_type, '2026-03-02 08:20:02Z'::timestamptz, false),
      ('2', 'opened', '2026-03-02 08:20:03Z', true),
      ('3', 'no_open', '2026-03-05 10:00Z', false),
      ('4', 'unsubscribed', '2026-03-09 12:00Z', false)
    ) as v (id, type, at, is_machine)
    """,
    """
    insert into send_holds (tenant_id, scope, subject_id, reason, detail, created_at, ended_at)
    select tenant_id, 'campaign', id, 'campaign_paused',
      '{"campaign": "Spring", "who": "Ana", "reason": "a typo"}', '2026-03-06 09:00Z',
      '2026-03-06 10:00Z'
    from campaigns
    """,
    """
    insert into suppressions (tenant_id, value, reason, source, created_at, lifted_at, lifted_by,
      lift_reason)
    select tenant_id, 'ann@example.com', 'unsubscribe', 'event', '2026-03-09 12:00:01Z',
      '2026-03-10 15:00Z', 'Ana', 'she asked' from tenants, contacts
    """,
    """
    insert into suppressions (tenant_id, value, reason, source, note, created_at)
    select tenant_id, '@example.com', 'legal', 'person', 'a contract', '2026-03-10 16:00Z'
    from contacts
    """,
)

STORY = """\
Ann Lee <ann@example.com>, in UTC

Sunday 1 March 2026
  09:00:00  ann@example.com came in.
  09:01:00  Ann Lee was enrolled in Spring.
  09:02:00  The plan begins at intro.
  09:03:00  It was outside the campaign's hours. Next look 2026-03-02 08:00.

Monday 2 March 2026
  08:00:01  The mail of step intro is decided: it goes out.
  08:00:02  The provider refused try 1 (429): slow down.
  08:00:03  The provider asked us to come back (429). Next look 2026-03-02 08:20.
  08:20:01  The provider accepted the mail of step intro at try 2, as the event shows.
  08:20:02  The mail of step intro was delivered.
  08:20:03  It was opened by a machine, not a person: recorded, does not move the plan.

Thursday 5 March 2026
  10:00:00  The mail of step intro was not opened in time.
  10:00:00  Because of “no open” the plan goes from intro to bump.

Friday 6 March 2026
  09:00:00  Spring is paused by Ana: "a typo".
  10:00:00  Spring runs again.

Monday 9 March 2026
  12:00:00  Ann Lee unsubscribed.
  12:00:00  The campaign ended for Ann Lee: Ann Lee unsubscribed.
  12:00:01  No more mail goes to ann@example.com: Ann Lee unsubscribed.

Tuesday 10 March 2026
  15:00:00  Ana lifted the suppression (unsubscribe): she asked.
  16:00:00  No more mail goes to @example.com: nobody at example.com is written to: a contract.

Tuesday 11 March 2036
  08:00:00  The mail of step bump is due."""


@pytest.fixture
async def tenant_id(db: Database, conninfo: str) -> UUID:
    """A tenant with one contact and all that ever happened to her."""
    tenant_id = await new_tenant(db)
    await new_sender(db, tenant_id)
    await new_contact(db, tenant_id, "ann@example.com")
    await new_campaign(db, tenant_id)
    await enroll_all(db, tenant_id)
    with psycopg.connect(conninfo) as owner:
        for statement in HISTORY:
            owner.execute(statement)
    return tenant_id


async def test_it_reads_as_a_story(db: Database, tenant_id: UUID) -> None:
    story = await explain(db, tenant_id, "Ann@Example.com")
    assert told(story) == STORY


async def test_each_fact_has_its_code_and_what_is_known(db: Database, tenant_id: UUID) -> None:
    entries = (await explain(db, tenant_id, "ann@example.com", campaign="Spring")).entries
    assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)
    by_code: dict[str, dict[str, Any]] = {entry.code: entry.detail for entry in entries}
    assert by_code["outside_hours"] == {
        "campaign": "Spring",
        "node": "intro",
        "until": by_code["outside_hours"]["until"],
        "verdict": "hold",
        "visit": 1,
    }
    assert datetime.fromisoformat(by_code["outside_hours"]["until"]).year == 2026
    assert by_code["stopped"]["reason"] == "suppressed_unsubscribe"
    assert by_code["machine_event"]["event"] == "opened"


async def test_of_one_campaign_only_that_is_told(db: Database, tenant_id: UUID) -> None:
    await new_campaign(db, tenant_id, "Autumn")
    codes = [
        entry.code
        for entry in (await explain(db, tenant_id, "ann@example.com", campaign="Autumn")).entries
    ]
    assert codes == [
        *("imported", "suppressed_unsubscribe", "suppression_lifted", "suppressed_domain"),
    ]


async def test_a_pause_in_force_is_told_of_each_waiting_send(
    db: Database, tenant_id: UUID, conninfo: str
) -> None:
    with psycopg.connect(conninfo) as owner:
        owner.execute("update send_holds set ended_at = null")
        owner.execute("update scheduled_actions set held_by = 'campaign' where state = 'pending'")
    summaries = [e.summary for e in (await explain(db, tenant_id, "ann@example.com")).entries]
    assert 'Spring is paused by Ana: "a typo".' in summaries
    assert summaries[-1] == "The mail of step bump is due, and held: campaign."


async def test_what_was_said_of_a_mail_and_alarms_are_told(db: Database) -> None:
    message = await unknown(db, HOUR)
    other = await unknown(db, HOUR)
    tenant_id = message.tenant_id
    said = {"reason": "they say no", "actor": "cli:ann"}
    await settle(db, tenant_id, message.id, Word.RESEND, **said)
    await receive(db, event(message, "processed"), event(other, "processed"))
    await apply_events(db)
    story = await explain(db, tenant_id, message.enrollment.email)
    told_of = {entry.code: entry.summary for entry in story.entries}
    assert told_of["said_not_sent"] == "cli:ann says that try 1 was not sent: they say no."
    assert told_of["contradiction"] == (
        "Alarm: of try 1 there is proof and disproof; recorded was: not_sent."
    )
    quiet = await explain(db, other.tenant_id, other.enrollment.email)
    assert {entry.kind for entry in quiet.entries}.isdisjoint({"evidence", "incident"})


@pytest.mark.parametrize("email", ["nobody@example.com", "no address", "", "@example.com"])
async def test_nobody_has_no_story(db: Database, tenant_id: UUID, email: str) -> None:
    with pytest.raises(NotFound):
        await explain(db, tenant_id, email)


async def test_an_unknown_campaign_has_no_story(db: Database, tenant_id: UUID) -> None:
    with pytest.raises(NotFound):
        await explain(db, tenant_id, "ann@example.com", campaign="Autumn")


async def test_another_tenant_hears_nothing(db: Database, tenant_id: UUID) -> None:
    other = await new_tenant(db, "other")
    with pytest.raises(NotFound):
        await explain(db, other, "ann@example.com")
    await new_contacts(db, other, 1)
    await new_contact(db, other, "ann@example.com")
    codes = [entry.code for entry in (await explain(db, other, "ann@example.com")).entries]
    assert codes == ["imported"]
    assert await ask(db, other, "select count(*) from enrollments") == [(0,)]


def test_a_limit_says_whose_and_how_much() -> None:
    ann = Person(UUID(int=1), "ann@example.com", "Ann")
    at = datetime(2026, 3, 1, tzinfo=UTC)
    detail = {"scope": "domain", "key": "big.example", "n": 200, "window": 3600}
    told_of = entry(ann, StoryRow(at, 2, "decision", "limit_domain", detail))
    assert told_of.summary == "200 an hour to big.example; full."
    detail = {"scope": "sender", "key": "0", "n": 20, "window": 60}
    told_of = entry(ann, StoryRow(at, 2, "decision", "limit_minute", detail))
    assert told_of.summary == "The sender may send 20 a minute; full."
