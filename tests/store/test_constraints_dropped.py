"""Each constraint and trigger that carries an invariant is dropped in turn, and its attack gets
through.

So the attack shows that the guard is needed, and the guard that the attack is one. A guard of the
tables of sending that is not attacked here is left out by name, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString, cast
from uuid import UUID

import psycopg
import pytest
from psycopg.sql import SQL as Composed
from psycopg.sql import Identifier

from outreach.db import Role, set_actor
from outreach.ids import new_id
from outreach.sql import Tx
from tests.house.test_isolation import CHANGE, REMOVE, do, one_of_each
from tests.house.test_schema import tenant_tables
from tests.store.attacks import Attack
from tests.store.attacks_around import ENROLLMENTS, REST, TIMETABLE
from tests.store.attacks_ledger import ATTEMPTS, LEDGER
from tests.store.attacks_limits import EVIDENCE, FENCE, LIMITS, NOBODYS, SENDERS
from tests.store.attacks_stops import ONCE, OWNERS, PAUSES, SHARED, STATES

ATTACKS = (
    *LEDGER,
    *ATTEMPTS,
    *TIMETABLE,
    *ENROLLMENTS,
    *REST,
    *PAUSES,
    *STATES,
    *SHARED,
    *ONCE,
    *OWNERS,
    *SENDERS,
    *LIMITS,
    *FENCE,
    *EVIDENCE,
    *NOBODYS,
)

# What nobody could tell the absence of, or that is not about sending, and why.
LEFT_OUT = {
    "enrollments foreign key (tenant_id) references tenants": "the keys to contact, campaign and"
    " sender name the tenant already",
    "sender_identities from_name <>": "how a mail looks, and not whether it is sent",
    "ip_pools length(name)": "the provider's own rule: it refuses such a pool itself",
    "installation provider_failures": "one row, whose only writers add one or set zero",
}

# The tables whose every guard is attacked or left out with a reason.
COVERED = (
    "outbound_messages",
    "send_attempts",
    "enrollments",
    "scheduled_actions",
    "rate_limit_counters",
    "message_event_keys",
    "sender_identities",
    "sender_outcomes",
    "ip_pools",
    "lane_floors",
    "send_rate_limits",
    "provider_log_slots",
    "outcome_evidence",
    "incidents",
    "installation",
    "installation_counters",
)

GUARDS: LiteralString = """
select r.relname, k.conname, lower(pg_get_constraintdef(k.oid)),
  'alter table %I drop constraint %I cascade'
from pg_constraint k join pg_class r on r.oid = k.conrelid
where k.contype in ('c', 'f', 'p', 'u', 'x') and k.conparentid = 0
union all
select r.relname, i.relname, i.relname, 'drop index %2$I'
from pg_index x join pg_class r on r.oid = x.indrelid join pg_class i on i.oid = x.indexrelid
where x.indisunique and not exists (select from pg_constraint k where k.conindid = x.indexrelid)
union all
select r.relname, g.tgname, g.tgname, 'drop trigger %2$I on %1$I'
from pg_trigger g join pg_class r on r.oid = g.tgrelid
where not g.tgisinternal
"""


# So that a row may go although others name it: the right alone is asked about here.
WITHOUT_REFERENCES: LiteralString = """
select format('alter table %I drop constraint %I', conrelid::regclass::text, conname)
from pg_constraint where contype = 'f' and conparentid = 0
"""


@dataclass(frozen=True, slots=True)
class Guard:
    """One that the database has."""

    table: str
    name: str
    says: str  # its definition, or its name once more
    drop: LiteralString

    def is_meant(self, table: str, piece: str) -> bool:
        return self.table == table and piece in self.says


async def guards(tx: Tx) -> list[Guard]:
    """All of them: constraints, unique indexes, triggers."""
    rows = await (await tx.execute(GUARDS)).fetchall()
    return [Guard(*row) for row in rows]


async def guard_of(tx: Tx, attack: Attack) -> Guard:
    found = [guard for guard in await guards(tx) if guard.is_meant(attack.table, attack.guard)]
    assert len(found) == 1, f"{attack} names {[guard.name for guard in found]}"
    return found[0]


async def drop(tx: Tx, guard: Guard) -> None:
    names = {"table": guard.table, "name": guard.name}
    query: LiteralString = "select format(%(drop)s::text, %(table)s::text, %(name)s::text)"
    row = await (await tx.execute(query, {"drop": guard.drop, **names})).fetchone()
    assert row is not None
    await tx.execute(cast(LiteralString, row[0]))


async def refusal(tx: Tx, attack: Attack, ids: dict[str, object]) -> str | None:
    """What refused it, or put right what it did; None when it got through. Nothing remains."""
    try:
        async with tx.transaction(force_rollback=True):
            cursor = await tx.execute(attack.statement, ids)
            assert cursor.rowcount == 1, f"{attack} has nothing to attack"
            await tx.execute("set constraints all immediate")
            if attack.breaks is None:
                return None
            row = await (await tx.execute(attack.breaks, ids)).fetchone()
            return None if row == (True,) else attack.guard
    except psycopg.IntegrityError as error:
        return error.diag.constraint_name


@pytest.fixture
async def ids(tx: Tx) -> dict[str, object]:
    """Two tenants with a row in every table."""
    made: dict[str, object] = {"t": await one_of_each(tx), "o": await one_of_each(tx)}
    await tx.execute("set constraints all immediate")
    return made


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_one_guard_and_no_other_refuses(
    tx: Tx, ids: dict[str, object], attack: Attack
) -> None:
    guard = await guard_of(tx, attack)
    for statement in attack.prepare:
        await tx.execute(statement, ids)
    assert await refusal(tx, attack, ids) == (attack.refused_by or guard.name)
    await drop(tx, guard)
    assert await refusal(tx, attack, ids) is None


async def test_every_guard_of_sending_is_attacked_or_left_out_with_a_reason(tx: Tx) -> None:
    pieces = [(attack.table, attack.guard) for attack in ATTACKS]
    pieces += [(words.split(" ", 1)[0], words.split(" ", 1)[1]) for words in LEFT_OUT]
    present = [guard for guard in await guards(tx) if guard.table in COVERED]
    unknown = [
        f"{guard.table} {guard.says}"
        for guard in present
        if not any(guard.is_meant(table, piece) for table, piece in pieces)
    ]
    assert unknown == []
    for words, reason in LEFT_OUT.items():
        table, piece = words.split(" ", 1)
        assert reason and sum(guard.is_meant(table, piece) for guard in present) == 1, words


async def test_a_guard_that_nobody_attacks_is_found(tx: Tx) -> None:
    await tx.execute("alter table send_attempts add constraint new_one check (attempt < 100)")
    added = [guard for guard in await guards(tx) if guard.name == "new_one"]
    assert [guard.says for guard in added] == ["check ((attempt < 100))"]
    assert not any(added[0].is_meant(attack.table, attack.guard) for attack in ATTACKS)


@pytest.mark.parametrize(
    ("role", "right", "table"),
    [
        (Role.WORKER, "delete", "outbound_messages"),
        (Role.WORKER, "delete", "send_attempts"),
        (Role.WORKER, "delete", "message_event_keys"),
        (Role.WORKER, "delete", "message_events"),
        (Role.WORKER, "update", "message_event_keys"),
        (Role.WORKER, "update", "campaign_transitions"),
        (Role.WORKER, "delete", "campaign_transitions"),
        (Role.APP, "update", "outbound_messages"),
        (Role.APP, "update", "send_attempts"),
        (Role.APP, "update", "rate_limit_counters"),
        (Role.APP, "update", "campaign_plans"),
        (Role.APP, "update", "audit_log"),
        (Role.APP, "delete", "audit_log"),
    ],
)
async def test_what_is_kept_is_kept_by_a_right_that_nobody_has(
    tx: Tx, ids: dict[str, object], role: Role, right: str, table: str
) -> None:
    query: LiteralString = CHANGE if right == "update" else REMOVE
    grant: LiteralString = "grant update, delete on {} to {}"
    for (statement,) in await (await tx.execute(WITHOUT_REFERENCES)).fetchall():
        await tx.execute(cast(LiteralString, statement))
    async with tx.transaction(force_rollback=True):
        await set_actor(tx, role, cast(UUID, ids["t"]))
        assert await do(tx, query, table) == "no right"
    await tx.execute(Composed(grant).format(Identifier(table), Identifier(role.value)))
    await set_actor(tx, role, cast(UUID, ids["t"]))
    assert len(await do(tx, query, table)) == 1


async def test_without_the_check_of_its_policy_a_row_is_added_in_anothers_name(
    tx: Tx, ids: dict[str, object]
) -> None:
    add: LiteralString = (
        "insert into send_holds (tenant_id, scope, subject_id, reason)"
        " values (%(o)s, 'tenant', %(o)s, 'forged')"
    )
    async with tx.transaction(force_rollback=True):
        await set_actor(tx, Role.WORKER, cast(UUID, ids["t"]))
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            await tx.execute(add, ids)
    await tx.execute("alter policy tenant_sees_own on send_holds with check (true)")
    await set_actor(tx, Role.WORKER, cast(UUID, ids["t"]))
    assert (await tx.execute(add, ids)).rowcount == 1


async def test_without_row_level_security_every_table_shows_another_tenants_rows(tx: Tx) -> None:
    other = await one_of_each(tx)
    await tx.execute("set constraints all immediate")
    query: LiteralString = "alter table {} disable row level security"
    for name in await tenant_tables(tx):
        async with tx.transaction(force_rollback=True):
            await set_actor(tx, Role.WORKER, new_id())
            assert await do(tx, "select * from {table}", name) == [], name
        async with tx.transaction(force_rollback=True):
            await tx.execute(Composed(query).format(Identifier(name)))
            await set_actor(tx, Role.WORKER, new_id())
            shown = await do(tx, "select * from {table}", name)
            assert isinstance(shown, list)
            assert any(other in row for row in shown), name
