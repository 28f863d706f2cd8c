"""Attacks on the ledger: messages and attempts."""

from __future__ import annotations

from typing import LiteralString

from tests.store.attacks import Attack

# A row like the one that is there, with some of its columns changed.
COPY_MESSAGE: LiteralString = """
insert into outbound_messages
select (jsonb_populate_record(m, {changes})).* from outbound_messages m where m.tenant_id = %(t)s
"""
WITHOUT_TRIGGERS: LiteralString = "alter table outbound_messages disable trigger user"
ACCEPTED: LiteralString = """
update send_attempts set outcome = 'accepted', settled_at = now() where tenant_id = %(t)s
"""
SENT: LiteralString = """
update outbound_messages set state = 'sent', accepted_attempt = 1, sent_at = now(), wake_at = null
where tenant_id = %(t)s
"""
REJECTED: LiteralString = """
update send_attempts set outcome = 'rejected', settled_at = now() where tenant_id = %(t)s
"""
FAILED: LiteralString = """
update outbound_messages set state = 'failed', wake_at = null where tenant_id = %(t)s
"""
COPY_ATTEMPT: LiteralString = """
insert into send_attempts
  (tenant_id, message_id, attempt, outcome, armed_at, deadline_at, settled_at)
select tenant_id, message_id, {attempt}, {outcome}, now(), now(), {settled} from send_attempts
where tenant_id = %(t)s
"""


def _attempt(
    attempt: LiteralString, outcome: LiteralString, settled: LiteralString
) -> LiteralString:
    return COPY_ATTEMPT.format(attempt=attempt, outcome=outcome, settled=settled)


LEDGER = (
    Attack("I1", "outbound_messages", "primary key", COPY_MESSAGE.format(changes="'{}'")),
    Attack(
        "I3",
        "outbound_messages",
        "prove_sent",
        SENT,
        refused_by="outbound_messages_proof",
    ),
    Attack(
        "I3",
        "outbound_messages",
        "prove_sent",
        "update outbound_messages set accepted_attempt = 9 where tenant_id = %(t)s",
        (ACCEPTED, SENT),
        "outbound_messages_proof",
    ),
    Attack(
        "I3",
        "outbound_messages",
        "accepted_attempt is not null",
        "update outbound_messages set accepted_attempt = 1 where tenant_id = %(t)s",
    ),
    Attack(
        "I3",
        "outbound_messages",
        "sent_at is not null",
        SENT.replace("sent_at = now()", "sent_at = null"),
        (ACCEPTED,),
    ),
    Attack(
        "I4",
        "outbound_messages",
        "guard_message",
        "update outbound_messages set state = 'waiting_retry', wake_at = now()"
        " where tenant_id = %(t)s",
        (REJECTED, FAILED),
        "outbound_messages_moves",
    ),
    Attack(
        "I4",
        "outbound_messages",
        "guard_message",
        "update outbound_messages set state = 'sending', wake_at = now(), sent_at = null,"
        " accepted_attempt = null where tenant_id = %(t)s",
        (ACCEPTED, SENT),
        "outbound_messages_moves",
    ),
    Attack(
        "I4",
        "outbound_messages",
        "begin_message",
        COPY_MESSAGE.format(
            changes="jsonb_build_object('id', new_id(), 'state', 'sent', 'accepted_attempt', 1,"
            " 'sent_at', now())"
        ),
        refused_by="outbound_messages_beginning",
    ),
    Attack(
        "I8",
        "outbound_messages",
        "wake_at is not null",
        "update outbound_messages set wake_at = null where tenant_id = %(t)s",
    ),
    Attack(
        "I8",
        "outbound_messages",
        "attempts > 0",
        "update outbound_messages set attempts = 0 where tenant_id = %(t)s",
    ),
    Attack(
        "I12",
        "outbound_messages",
        "foreign key (tenant_id, enrollment_id)",
        "update outbound_messages set enrollment_id ="
        " (select id from enrollments where tenant_id = %(o)s) where tenant_id = %(t)s",
    ),
    *(
        Attack(
            "I13",
            "outbound_messages",
            "fix_words",
            statement,
            refused_by="outbound_messages_body",
        )
        for statement in (
            "update outbound_messages set subject = 'Other' where tenant_id = %(t)s",
            "update outbound_messages set body_text = 'Other' where tenant_id = %(t)s",
            "update outbound_messages set body_html = 'Other' where tenant_id = %(t)s",
            "update outbound_messages set dedupe_key = 'Other' where tenant_id = %(t)s",
        )
    ),
)

ATTEMPTS = (
    Attack("I2", "send_attempts", "send_attempts_one_live", _attempt("2", "'armed'", "null")),
    Attack("I2", "send_attempts", "primary key", _attempt("1", "'rejected'", "now()")),
    Attack("I2", "send_attempts", "attempt > 0", _attempt("0", "'rejected'", "now()")),
    Attack(
        "I8",
        "send_attempts",
        "settled_at is null",
        "update send_attempts set settled_at = now() where tenant_id = %(t)s",
    ),
    Attack(
        "I3",
        "send_attempts",
        "guard_attempt",
        "update send_attempts set outcome = 'rejected' where tenant_id = %(t)s",
        (ACCEPTED, SENT),
        "send_attempts_moves",
    ),
    Attack(
        "I2",
        "send_attempts",
        "guard_attempt",
        "update send_attempts set outcome = 'armed', settled_at = null where tenant_id = %(t)s",
        (REJECTED,),
        "send_attempts_moves",
    ),
    Attack(
        "I12",
        "send_attempts",
        "foreign key (tenant_id, message_id)",
        "insert into send_attempts (tenant_id, message_id, attempt, armed_at, deadline_at)"
        " select %(t)s, id, 1, now(), now() from outbound_messages where tenant_id = %(o)s",
    ),
)
