"""Attacks on what says how much may be sent, by whom, and how an unknown outcome was found."""

from __future__ import annotations

from typing import LiteralString

from tests.store.attacks import Attack

# A row like the one that is there, with some of its columns changed.
COPY: LiteralString = """
insert into {table}
select (jsonb_populate_record(r, {changes})).* from {table} r where r.tenant_id = %(t)s
"""
CHANGE: LiteralString = "update {table} set {change} where tenant_id = %(t)s"
ANOTHERS_SENDER: LiteralString = (
    "sender_id = (select id from sender_identities where tenant_id = %(o)s)"
)
ANOTHERS_MESSAGE: LiteralString = (
    "message_id = (select id from outbound_messages where tenant_id = %(o)s)"
)


def _copy(table: LiteralString, changes: LiteralString = "'{}'") -> LiteralString:
    return COPY.format(table=table, changes=changes)


def _change(table: LiteralString, change: LiteralString) -> LiteralString:
    return CHANGE.format(table=table, change=change)


SENDERS = (
    # Each identity has the limits of a sender: one address with two would send twice as much.
    Attack(
        "I7",
        "sender_identities",
        "sender_identities_address",
        _copy(
            "sender_identities",
            "jsonb_build_object('id', new_id(), 'from_email', upper(r.from_email))",
        ),
    ),
    # And one identity with two addresses would be paused, warmed up and counted as one of them.
    Attack(
        "I7",
        "sender_identities",
        "primary key",
        _copy("sender_identities", """'{"from_email": "sue@one.test"}'"""),
    ),
    Attack(
        "stops",
        "sender_identities",
        "paused_by is null",
        _change("sender_identities", "paused_by = 'someone'"),
    ),
    # The warm-up of a pool counts from the row of the pool.
    Attack(
        "I7",
        "sender_identities",
        "foreign key (tenant_id, ip_pool)",
        _change("sender_identities", "ip_pool = 'nowhere'"),
    ),
    Attack("I7", "ip_pools", "primary key", _copy("ip_pools")),
    # The rates of bounces and complaints are sums of these rows.
    Attack("I7", "sender_outcomes", "primary key", _copy("sender_outcomes")),
    # Of two floors of one lane the higher would hide what lies between them.
    Attack("I8", "lane_floors", "primary key", _copy("lane_floors")),
)

LIMITS = (
    Attack("I7", "send_rate_limits", "primary key", _copy("send_rate_limits")),
    # A limit of a scope that nobody asks for holds nobody.
    Attack("I7", "send_rate_limits", "scope = any", _change("send_rate_limits", "scope = 'lane'")),
    *(
        Attack("I7", "send_rate_limits", guard, _change("send_rate_limits", change))
        for guard, change in (
            ("per_minute_max >=", "per_minute_max = -1"),
            ("per_hour_max >=", "per_hour_max = -1"),
            ("per_day_max >=", "per_day_max = -1"),
            ("warmup_max >=", "warmup_max = -1"),
            ("concurrent_max >", "concurrent_max = 0"),
            # No rate is above a hundred percent, so none would ever be too high.
            ("bounce_percent_max >=", "bounce_percent_max = 101"),
            ("complaint_percent_max >=", "complaint_percent_max = 101"),
        )
    ),
    *(
        Attack("I7", "installation", guard, statement)
        for guard, statement in (
            ("per_minute_max >=", "update installation set per_minute_max = -1"),
            ("per_hour_max >=", "update installation set per_hour_max = -1"),
            ("per_day_max >=", "update installation set per_day_max = -1"),
            ("concurrent_max >", "update installation set concurrent_max = 0"),
        )
    ),
    # Six questions a minute: one of each slot, and no seventh slot.
    Attack(
        "I7",
        "provider_log_slots",
        "primary key",
        "insert into provider_log_slots (slot) values (1)",
    ),
    Attack(
        "I7",
        "provider_log_slots",
        "slot <= 6",
        "insert into provider_log_slots (slot) values (7)",
    ),
)

# Half a fence would compare some of what tells one run of a database from another.
FENCE = (
    Attack(
        "I9",
        "installation",
        "data_loss_held_at is null",
        "update installation set data_loss_held_at = now()",
    ),
    Attack(
        "I9",
        "installation",
        "num_nulls(",
        "update installation set fence_timeline = 1, fence_started_at = null",
    ),
)

EVIDENCE = (
    Attack("proof", "outcome_evidence", "primary key", _copy("outcome_evidence")),
    Attack(
        "proof",
        "outcome_evidence",
        "source = any",
        _change("outcome_evidence", "source = 'hearsay'"),
    ),
    Attack(
        "proof", "outcome_evidence", "says = any", _change("outcome_evidence", "says = 'perhaps'")
    ),
    Attack(
        "I12",
        "outcome_evidence",
        "foreign key (tenant_id, message_id, attempt)",
        _change("outcome_evidence", ANOTHERS_MESSAGE),
    ),
    Attack(
        "I14",
        "incidents",
        "primary key",
        _copy("incidents", """'{"subject": "bob@acme.test"}'"""),
    ),
)

NOBODYS = (
    *(
        Attack(
            "I12",
            table,
            "foreign key (tenant_id)",
            _copy(table, "jsonb_build_object('tenant_id', new_id())"),
        )
        for table in ("sender_identities", "ip_pools", "send_rate_limits", "incidents")
    ),
    *(
        Attack("I12", table, "foreign key (tenant_id, sender_id)", _change(table, ANOTHERS_SENDER))
        for table in ("sender_outcomes", "lane_floors")
    ),
)
