"""Attacks on what surrounds the ledger: timetable, enrollments, counters, events, stops."""

from __future__ import annotations

from typing import LiteralString

from tests.store.attacks import Attack

TIMETABLE = (
    Attack(
        "I1",
        "scheduled_actions",
        "primary key",
        "insert into scheduled_actions select * from scheduled_actions where tenant_id = %(t)s",
    ),
    Attack(
        "I8",
        "scheduled_actions",
        "trigger is not null",
        "update scheduled_actions set kind = 'timeout' where tenant_id = %(t)s",
    ),
    Attack(
        "I8",
        "scheduled_actions",
        "held_by is null",
        "update scheduled_actions set held_by = 'campaign', state = 'claimed'"
        " where tenant_id = %(t)s",
    ),
    Attack(
        "I8",
        "scheduled_actions",
        "held_by = any",
        "update scheduled_actions set held_by = 'nobody' where tenant_id = %(t)s",
    ),
    Attack(
        "I8",
        "scheduled_actions",
        "priority = any",
        "update scheduled_actions set priority = 7 where tenant_id = %(t)s",
    ),
    Attack(
        "I1",
        "scheduled_actions",
        "visit > 0",
        "update scheduled_actions set visit = 0 where tenant_id = %(t)s",
    ),
    Attack(
        "I12",
        "scheduled_actions",
        "foreign key (tenant_id, enrollment_id)",
        "update scheduled_actions set enrollment_id ="
        " (select id from enrollments where tenant_id = %(o)s) where tenant_id = %(t)s",
    ),
)

ANOTHER_CONTACT: LiteralString = """
insert into contacts (tenant_id, email) values (%(t)s, 'another@acme.test')
"""
ENROLLMENTS = (
    Attack(
        "one place",
        "enrollments",
        "primary key",
        "insert into enrollments select (jsonb_populate_record(e, jsonb_build_object('contact_id',"
        " (select id from contacts where tenant_id = %(t)s and email = 'another@acme.test')))).*"
        " from enrollments e where e.tenant_id = %(t)s",
        (ANOTHER_CONTACT,),
    ),
    Attack(
        "one place",
        "enrollments",
        "unique (tenant_id, campaign_id, contact_id)",
        "insert into enrollments"
        " select (jsonb_populate_record(e, jsonb_build_object('id', new_id()))).*"
        " from enrollments e where e.tenant_id = %(t)s",
    ),
    Attack(
        "one place",
        "enrollments",
        "current_node_id is null",
        "update enrollments set current_node_id = 'intro' where tenant_id = %(t)s",
    ),
    Attack(
        "I8",
        "enrollments",
        "paused_at is not null",
        "update enrollments set state = 'paused', current_node_id = 'intro'"
        " where tenant_id = %(t)s",
    ),
    Attack(
        "I8",
        "enrollments",
        "ended_at is not null",
        "update enrollments set state = 'completed', current_node_id = 'intro'"
        " where tenant_id = %(t)s",
    ),
    Attack(
        "I8",
        "enrollments",
        "end_reason is null",
        "update enrollments set state = 'stopped', ended_at = now() where tenant_id = %(t)s",
    ),
    *(
        Attack(
            "I12",
            "enrollments",
            f"foreign key (tenant_id, {column}",
            statement,
        )
        for column, statement in (
            (
                "contact_id",
                "update enrollments set contact_id ="
                " (select id from contacts where tenant_id = %(o)s) where tenant_id = %(t)s",
            ),
            (
                "campaign_id",
                "update enrollments set campaign_id ="
                " (select id from campaigns where tenant_id = %(o)s) where tenant_id = %(t)s",
            ),
            (
                "sender_id",
                "update enrollments set sender_id ="
                " (select id from sender_identities where tenant_id = %(o)s)"
                " where tenant_id = %(t)s",
            ),
        )
    ),
)

REST = (
    Attack(
        "I7",
        "rate_limit_counters",
        "primary key",
        "insert into rate_limit_counters select * from rate_limit_counters where tenant_id = %(t)s",
    ),
    Attack(
        "I7",
        "rate_limit_counters",
        "cardinality(bucket_at)",
        "update rate_limit_counters set bucket_at = '{1}' where tenant_id = %(t)s",
    ),
    Attack(
        "I12",
        "rate_limit_counters",
        "foreign key (tenant_id)",
        "insert into rate_limit_counters select (jsonb_populate_record(c,"
        " jsonb_build_object('tenant_id', new_id()))).* from rate_limit_counters c"
        " where c.tenant_id = %(t)s",
    ),
    Attack(
        "I10",
        "message_event_keys",
        "primary key",
        "insert into message_event_keys select * from message_event_keys where tenant_id = %(t)s",
    ),
    Attack(
        "I12",
        "message_events",
        "foreign key (tenant_id, outbound_message_id)",
        "update message_events set outbound_message_id ="
        " (select id from outbound_messages where tenant_id = %(o)s) where tenant_id = %(t)s",
    ),
    Attack(
        "I14",
        "incidents",
        "unique (tenant_id, code, subject)",
        "insert into incidents select (jsonb_populate_record(i, jsonb_build_object('id',"
        " new_id()))).* from incidents i where i.tenant_id = %(t)s",
    ),
    Attack(
        "stops",
        "suppressions",
        "suppressions_in_force",
        "insert into suppressions (tenant_id, value, reason) select tenant_id, value, reason"
        " from suppressions where tenant_id = %(t)s",
    ),
    Attack(
        "stops",
        "contacts",
        "suppressed_at is null",
        "update contacts set suppressed_at = now() where tenant_id = %(t)s",
    ),
    # A second row of one person would be written to although the first is suppressed.
    Attack(
        "stops",
        "contacts",
        "unique (tenant_id, email_key)",
        "insert into contacts (tenant_id, email) values (%(t)s, 'Ann@acme.test')",
    ),
    Attack(
        "stops",
        "campaigns",
        "paused_at is not null",
        "update campaigns set state = 'paused', launched_at = now() where tenant_id = %(t)s",
    ),
    Attack(
        "stops",
        "send_holds",
        "send_holds_in_force",
        "insert into send_holds (tenant_id, scope, subject_id, reason)"
        " select tenant_id, scope, subject_id, reason from send_holds where tenant_id = %(t)s",
    ),
    Attack(
        "one plan",
        "campaign_plans",
        "unique (tenant_id, campaign_id, version)",
        "insert into campaign_plans select (jsonb_populate_record(p, jsonb_build_object('id',"
        " new_id()))).* from campaign_plans p where p.tenant_id = %(t)s",
    ),
)
