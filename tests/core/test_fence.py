"""The judgement over a database that runs anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from outreach.core.fence import (
    OBJECTION_SECONDS,
    PROOF_SECONDS,
    Evidence,
    Held,
    Identity,
    Open,
    Wait,
    judge,
)

APPROVED = Identity(7_000_000_000_000_000_001, 16_400, 1, datetime(2026, 11, 24, tzinfo=UTC))
RESTARTED = replace(APPROVED, started_at=APPROVED.started_at + timedelta(hours=1))
PROMOTED = replace(RESTARTED, timeline=2)
NOTHING = Evidence()


def test_the_first_run_is_the_one_that_counts() -> None:
    assert judge(None, APPROVED, NOTHING) == Open("first_run")


def test_a_first_run_of_which_a_worker_remembers_more_is_held() -> None:
    assert judge(None, APPROVED, Evidence(missing=1)) == Held("sends_missing")


def test_a_run_that_was_looked_at_goes_on() -> None:
    assert judge(APPROVED, APPROVED, NOTHING) == Open("same_run")


@pytest.mark.parametrize(
    ("present", "reason"),
    [
        (replace(RESTARTED, system_identifier=5), "system_changed"),
        (replace(APPROVED, database=16_401), "database_changed"),
        (replace(RESTARTED, timeline=0), "timeline_went_back"),
    ],
)
def test_another_database_is_held_whatever_anybody_says(present: Identity, reason: str) -> None:
    best = Evidence(is_witness=True, is_announced=True, waited_seconds=1000)
    assert judge(APPROVED, present, best) == Held(reason)


@pytest.mark.parametrize("present", [APPROVED, RESTARTED, PROMOTED])
def test_what_is_remembered_and_not_found_proves_a_loss(present: Identity) -> None:
    evidence = Evidence(missing=1, is_announced=True, waited_seconds=1000)
    assert judge(APPROVED, present, evidence) == Held("sends_missing")


def test_a_restart_goes_on_when_everybody_has_looked_or_had_the_time_to() -> None:
    waiting = Evidence(unproven=1)
    assert judge(APPROVED, RESTARTED, NOTHING) == Open("restart")
    assert judge(APPROVED, RESTARTED, waiting) == Wait()
    late = replace(waiting, waited_seconds=OBJECTION_SECONDS)
    assert judge(APPROVED, RESTARTED, late) == Open("restart")


def test_a_promotion_goes_on_by_a_witness_and_nobodys_objection() -> None:
    witness = Evidence(is_witness=True)
    assert judge(APPROVED, PROMOTED, witness) == Open("failover_without_loss")
    assert judge(APPROVED, PROMOTED, replace(witness, unproven=1)) == Wait()
    late = replace(witness, unproven=1, waited_seconds=PROOF_SECONDS)
    assert judge(APPROVED, PROMOTED, late) == Held("timeline_changed")


def test_a_promotion_that_nobody_saw_is_held_unless_it_was_announced() -> None:
    late = Evidence(waited_seconds=PROOF_SECONDS)
    assert judge(APPROVED, PROMOTED, NOTHING) == Wait()
    assert judge(APPROVED, PROMOTED, late) == Held("timeline_changed")
    announced = Evidence(is_announced=True)
    assert judge(APPROVED, PROMOTED, announced) == Wait()
    announced = replace(announced, waited_seconds=OBJECTION_SECONDS)
    assert judge(APPROVED, PROMOTED, announced) == Open("failover_announced")
