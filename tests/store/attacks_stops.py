"""Attacks on what stops a send, on who it belongs to, and on what is stored once."""

from __future__ import annotations

from typing import LiteralString

from tests.store.attacks import Attack

BODY: LiteralString = """
insert into webhook_deliveries (provider, payload_hash, payload)
values ('sendgrid', sha256('a body'), 'a body')
"""
STRAY: LiteralString = """
insert into unmatched_events (provider, provider_event_id, reason, payload)
values ('sendgrid', 'an event', 'unknown_message', '{}')
"""

PAUSED: LiteralString = """
update enrollments set state = 'paused', paused_at = now(), current_node_id = 'intro'
where tenant_id = %(t)s
"""
HELD: LiteralString = """
insert into send_holds (tenant_id, scope, subject_id, reason)
select tenant_id, 'enrollment', id, 'enrollment_paused' from enrollments where tenant_id = %(t)s
"""
PAUSES = (
    Attack(
        "stops",
        "enrollments",
        "end_pause_hold",
        "update enrollments set state = 'active', paused_at = null where tenant_id = %(t)s",
        (PAUSED, HELD),
        breaks="select exists (select from send_holds where tenant_id = %(t)s"
        " and scope = 'enrollment' and ended_at is null)",
    ),
    Attack(
        "stops",
        "campaigns",
        "end_pause_hold",
        "update campaigns set state = 'active', paused_at = null where tenant_id = %(t)s",
        (
            "update campaigns set state = 'paused', launched_at = now(), paused_at = now()"
            " where tenant_id = %(t)s",
            "insert into send_holds (tenant_id, scope, subject_id, reason)"
            " select tenant_id, 'campaign', id, 'campaign_paused' from campaigns"
            " where tenant_id = %(t)s",
        ),
        breaks="select exists (select from send_holds where tenant_id = %(t)s"
        " and scope = 'campaign' and ended_at is null)",
    ),
)

# A pause without its moment would be none for those who ask about the one or the other.
STATES = (
    Attack(
        "stops",
        "installation",
        "(paused_at is not null)",
        "update installation set state = 'paused'",
    ),
    Attack(
        "stops",
        "tenants",
        "(paused_at is not null)",
        "update tenants set state = 'paused' where id = %(t)s",
    ),
    Attack(
        "stops",
        "sender_identities",
        "(paused_at is null) = (pause_reason is null)",
        "update sender_identities set paused_at = now() where tenant_id = %(t)s",
    ),
    Attack(
        "stops",
        "sender_identities",
        "verified_at is not null",
        "update sender_identities set state = 'verified' where tenant_id = %(t)s",
    ),
    Attack(
        "stops",
        "campaigns",
        "launched_at is null",
        "update campaigns set launched_at = now() where tenant_id = %(t)s",
    ),
    Attack(
        "stops",
        "campaigns",
        "ended_at is not null",
        "update campaigns set state = 'completed', launched_at = now() where tenant_id = %(t)s",
    ),
    Attack(
        "stops",
        "suppressions",
        "(lifted_at is null) = (lifted_by is null)",
        "update suppressions set lifted_at = now() where tenant_id = %(t)s",
    ),
)
# One row for everybody, and one counter for each of its windows.
SHARED = (
    Attack("I7", "installation", "check (is_only)", "insert into installation values (false)"),
    Attack("I7", "installation", "primary key", "insert into installation default values"),
    Attack(
        "I7",
        "installation_counters",
        "primary key",
        "insert into installation_counters (window_seconds) values (60)",
    ),
    Attack(
        "I7",
        "installation_counters",
        "cardinality(bucket_at)",
        "update installation_counters set bucket_at = '{1}' where window_seconds = 60",
    ),
)
ONCE = (
    Attack("I10", "webhook_deliveries", "unique (payload_hash)", BODY, (BODY,)),
    Attack(
        "I10",
        "unmatched_events",
        "unique (provider, provider_event_id)",
        STRAY,
        (STRAY,),
    ),
)
OWNERS = (
    Attack(
        "I12",
        "campaigns",
        "foreign key (tenant_id, sender_id)",
        "update campaigns set sender_id ="
        " (select id from sender_identities where tenant_id = %(o)s) where tenant_id = %(t)s",
    ),
    Attack(
        "one plan",
        "campaigns",
        "foreign key (tenant_id, id, plan_version)",
        "update campaigns set plan_version = 9 where tenant_id = %(t)s",
    ),
    Attack(
        "I12",
        "contacts",
        "foreign key (tenant_id, lead_id)",
        "update contacts set lead_id = (select id from leads where tenant_id = %(o)s)"
        " where tenant_id = %(t)s",
    ),
    Attack(
        "I12",
        "campaign_transitions",
        "foreign key (tenant_id, enrollment_id)",
        "update campaign_transitions set enrollment_id ="
        " (select id from enrollments where tenant_id = %(o)s) where tenant_id = %(t)s",
    ),
    Attack(
        "I12",
        "send_refusals",
        "foreign key (tenant_id, enrollment_id)",
        "update send_refusals set enrollment_id ="
        " (select id from enrollments where tenant_id = %(o)s) where tenant_id = %(t)s",
    ),
)
