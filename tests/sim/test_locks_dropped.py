"""Each lock that carries an invariant is taken out of its statement in turn, and something is lost.

So are conditions that stand in a statement and not in the schema: the cap of everybody, the fence.

What is lost is played out by two transactions that are made to meet. A lock that is not dropped
here is left out by name, with the reason why nothing could be lost by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import LiteralString
from uuid import UUID

import pytest

from outreach import sql, store
from outreach.db import Database
from outreach.services import suppress as suppressing
from outreach.sql import Tx
from outreach.store import (
    campaigns,
    counters,
    dispatch,
    enrollment_control,
    enrollments,
    ledger,
    plan_update,
    suppressions,
    timers,
    unknowns,
)
from tests.sim import plan_probes, probes
from tests.sim.meetings import Probe, claim_passes_over, stop_waits_for_the_claim
from tests.sim.probes import a_stop_takes_back_the_next_step, touch
from tests.support.database import Databases

LOCK = re.compile(
    r"for (?:no key )?(?:update|share)(?: of [a-z]+(?:, [a-z]+)*)?(?: skip locked)?"
    r"|pg_advisory_xact_lock\w*"
)
HOLD_CONTACT: LiteralString = "select from contacts where tenant_id = %(t)s for update"
HOLD_ACTION: LiteralString = "select from scheduled_actions where tenant_id = %(t)s for update"
PAUSE_TENANT: LiteralString = """
update tenants set state = 'paused', paused_at = now() where id = %(t)s
"""
PAUSE_INSTALLATION: LiteralString = "update installation set state = 'paused', paused_at = now()"
PAUSE_SENDER: LiteralString = """
update sender_identities set paused_at = now(), pause_reason = 'a test' where tenant_id = %(t)s
"""


@dataclass(frozen=True, slots=True)
class Lock:
    """A piece of a statement, what stands there without the lock, and what shows the difference."""

    module: ModuleType
    name: str
    clause: LiteralString
    instead: LiteralString
    probe: Probe

    @property
    def place(self) -> str:
        return f"{self.module.__name__.rpartition('.')[2]}.{self.name}"

    def __str__(self) -> str:
        return f"{self.place}: {self.clause}"


LOCKS = (
    # Stops (I5): what a claim decides from stays as it is until the claim has committed.
    *(
        Lock(dispatch, "claim_sends", "share of e, c, k, s", without, stop_waits_for_the_claim(act))
        for without, act in (
            ("share of c, k, s", probes.pause_enrollment),
            ("share of e, k, s", probes.pause_campaign),
            ("share of e, c, s", probes.suppress_address),
            ("share of e, c, k", touch(PAUSE_SENDER)),
        )
    ),
    Lock(
        dispatch,
        "read_budget",
        "for share of t, i",
        "for share of i",
        stop_waits_for_the_claim(touch(PAUSE_TENANT)),
    ),
    Lock(
        dispatch,
        "read_budget",
        "for share of t, i",
        "for share of t",
        stop_waits_for_the_claim(touch(PAUSE_INSTALLATION)),
    ),
    Lock(
        dispatch,
        "begin_claim",
        "pg_advisory_xact_lock(hashtextextended(%(tenant_id)s::text, 1))",
        "true",
        stop_waits_for_the_claim(probes.suppress_domain),
    ),
    Lock(
        dispatch,
        "claim_sends",
        "for update of a skip locked",
        "",
        stop_waits_for_the_claim(touch(probes.CANCEL)),
    ),
    # No rings: a claim waits for no row.
    Lock(
        dispatch,
        "claim_sends",
        "for share of e, c, k, s skip locked",
        "for share of e, c, k, s",
        claim_passes_over(HOLD_CONTACT),
    ),
    Lock(
        dispatch,
        "claim_sends",
        "for update of a skip locked",
        "for update of a",
        claim_passes_over(HOLD_ACTION),
    ),
    # Limits (I6, I7).
    Lock(
        dispatch,
        "begin_claim",
        "pg_advisory_xact_lock(hashtextextended(%(tenant_id)s::text, 1))",
        "true",
        probes.two_claims_take_one_token,
    ),
    Lock(
        counters,
        "take_installation",
        "+ %(count)s::int <= n.cap",
        "+ %(count)s::int is not null",
        probes.two_tenants_take_one_token,
    ),
    Lock(
        unknowns,
        "take_log_slots",
        "for update skip locked",
        "",
        probes.two_askers_stay_within_the_budget,
    ),
    # Nothing leaves a database that may have forgotten something (I9).
    *(
        Lock(dispatch, "read_budget", clause, "", probes.nothing_is_armed_behind_the_fence(what))
        for clause, what in (
            ("i.data_loss_held_at is not null or", probes.HELD),
            ("or i.fence_started_at <> pg_postmaster_start_time()", probes.RESTARTED),
            (
                "or i.fence_database <> (select d.oid::bigint from pg_database d"
                " where d.datname = current_database())",
                probes.CLONED,
            ),
        )
    ),
    # An enrollment's steps follow each other (I11).
    Lock(enrollments, "lock_enrollments", "for update", "", probes.two_events_make_one_step),
    Lock(
        enrollments,
        "lock_free_enrollments",
        "for update skip locked",
        "",
        probes.a_timer_fires_once,
    ),
    Lock(
        ledger,
        "settle_accepted",
        "for no key update of e",
        "",
        probes.no_timer_starts_after_the_end,
    ),
    Lock(
        campaigns,
        "lock_live_enrollments",
        "for no key update",
        "",
        a_stop_takes_back_the_next_step(probes.stop_campaign),
    ),
    Lock(
        plan_update,
        "lock_running_enrollments",
        "for no key update",
        "",
        plan_probes.nobody_steps_on_a_node_that_vanishes,
    ),
    Lock(
        enrollment_control,
        "lock_contact_enrollments",
        "for no key update of e",
        "",
        a_stop_takes_back_the_next_step(probes.stop_enrollment),
    ),
    # Nothing waits for ever (I8).
    Lock(
        enrollments,
        "lock_ending_campaigns",
        "for no key update",
        "",
        probes.the_later_of_two_ends_completes,
    ),
    Lock(
        enrollments,
        "lock_ending_campaigns",
        "for share skip locked",
        "",
        probes.an_end_waits_for_a_look,
    ),
    Lock(
        campaigns,
        "lock_campaign",
        "for no key update of c",
        "",
        probes.who_is_enrolled_during_a_launch_starts,
    ),
    Lock(
        timers, "share_paused_campaigns", "for share skip locked", "", probes.no_timer_stays_parked
    ),
    # Suppressions.
    *(
        Lock(suppressions, name, clause, "concat", probes.a_lift_leaves_what_is_just_added)
        for name, clause in (
            ("share_suppressions", "pg_advisory_xact_lock_shared"),
            ("lock_suppressions", "pg_advisory_xact_lock"),
        )
    ),
)

# Locks whose absence costs time, or a ring of locks that the server breaks, or shows elsewhere.
ORDER = "takes in one order what is written next, and would wait for it anyway"
WORK = "spares work that two would do: the key of each event lets it count once"
ENROLLMENT = "whoever settles a message holds its enrollment before"
HINT = "a floor is a hint, which a look without it corrects within a minute"
PACE = "four workers try at once what it keeps, in tests/services/test_concurrency.py"
AUDIT = "keeps what is told of the rule as it was; the update holds the row itself"
WORK_LOST = "spares work that two would do: a row is deleted once"
JOBS = "about jobs, of which every one may be lost"
LEFT_OUT: Mapping[str, str] = {
    "deliveries.claim_deliveries": WORK,
    "deliveries.list_deliveries": ORDER,
    "dispatch.raise_floors": HINT,
    "enroll.lower_floors": HINT,
    "events.claim_unmatched": WORK,
    "events.raise_deliveries": ORDER,
    "ledger.lock_messages": ENROLLMENT,
    "limits.lock_pace": PACE,
    "limits.recall_promised_actions": ORDER,
    "limits.unset_installation_limit": AUDIT,
    "pauses.lock_held_actions": ORDER,
    "pauses.release_campaign_actions": ORDER,
    "replies.claim_inbound": WORK,
    "retention.delete_deliveries": WORK_LOST,
    "suppressions.refresh_contact_flags": ORDER,
    "sweep.delete_ended_jobs": JOBS,
    "sweep.delete_stalled_jobs": JOBS,
    "unknowns.lock_unknowns": ENROLLMENT,
}


def statements() -> Mapping[str, LiteralString]:
    """All named statements of the store, by file and name."""
    folder = Path(next(iter(store.__path__)))
    return {
        f"{path.stem}.{name}": text
        for path in sorted(folder.glob("*.sql"))
        for name, text in sql.load(str(path)).items()
    }


@pytest.fixture(scope="module")
def conninfo(databases: Databases) -> Iterator[str]:
    """One database for all meetings: each has a tenant of its own."""
    name = databases.create()
    yield databases.conninfo(name)
    databases.drop(name)


@pytest.mark.parametrize("lock", LOCKS, ids=str)
async def test_without_its_lock_something_is_lost(
    db: Database, monkeypatch: pytest.MonkeyPatch, lock: Lock
) -> None:
    known: Mapping[str, LiteralString] = lock.module.SQL
    statement = known[lock.name]
    assert statement.count(lock.clause) == 1
    assert await lock.probe(db), "with its lock it holds"
    monkeypatch.setitem(known, lock.name, statement.replace(lock.clause, lock.instead))
    assert not await lock.probe(db), "nobody would miss this lock"


async def test_a_domain_is_kept_by_the_lock_of_who_adds_it_too(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = stop_waits_for_the_claim(probes.suppress_domain)
    assert await probe(db)

    async def nothing(tx: Tx, tenant_id: UUID) -> None:
        pass

    monkeypatch.setattr(suppressing, "lock_tenant", nothing)
    assert not await probe(db)


def test_every_lock_is_dropped_or_left_out_with_a_reason() -> None:
    found = {place: LOCK.findall(text) for place, text in statements().items()}
    unknown = [
        f"{place}: {clause}"
        for place, clauses in found.items()
        for clause in clauses
        if place not in LEFT_OUT
        and not any(
            lock.place == place and (lock.clause in clause or clause in lock.clause)
            for lock in LOCKS
        )
    ]
    assert unknown == []
    assert [place for place in LEFT_OUT if not found.get(place)] == []
