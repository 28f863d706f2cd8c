"""A plan tried out on made-up readers: who moves, when, under which limits, and always alike."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from outreach.core.errors import Invalid
from outreach.core.limits import DEFAULTS, Limits, Scope
from outreach.core.plan import Plan, Trigger
from outreach.core.simulate import simulate
from outreach.core.simulate_habits import SHARES, Fates, Habits, Happening, read_shares
from outreach.core.simulate_order import CONTACTS_MAX, Order, Outcome
from outreach.core.simulate_tokens import Caps
from outreach.core.simulate_world import Crowd
from outreach.core.states import EnrollmentState
from tests.core.transitions_support import COMPLETED, FAILED, STOPPED, T0, on, plan_of, send, wait

NOTHING = dict.fromkeys(SHARES, 0.0)
UNLIMITED = Caps({scope: Limits() for scope in Scope})
PLAN = plan_of(
    send("intro", on("opened", "look", within="P2D"), on("no_open", "again", after="P2D")),
    wait("look", on("clicked", "thanks"), on("no_click", "again", after="P1D")),
    send("thanks"),
    send("again"),
)


def run(plan: Plan = PLAN, shares: dict[str, float] | None = None, **given: Any) -> Outcome:
    """Simulate a hundred contacts, unless told otherwise, without limits."""
    chance = random.Random(given.pop("seed", 1))
    fates: Fates = given.pop("fates", None) or Habits({**NOTHING, **(shares or {})}).fates(chance)
    settings = {"contacts": 100, "start_at": T0, "caps": UNLIMITED, **given}
    return simulate(plan, Order(**settings), fates, chance)


def capped(scope: Scope, limits: Limits) -> Caps:
    return Caps({**UNLIMITED.limits, scope: limits})


def test_where_nobody_reacts_everybody_goes_by_the_timers() -> None:
    found = run()
    assert found.messages_by_node == {"intro": 100, "thanks": 0, "again": 100}
    assert found.messages_by_day == {T0.date(): 100, (T0 + timedelta(days=2)).date(): 100}
    assert found.ends == {(COMPLETED, "completed"): 100}
    assert found.finished_at == found.last_message_at == T0 + timedelta(days=2)
    assert (found.unfinished, found.binding_limit) == (0, None)


def test_where_everybody_clicks_everybody_is_thanked() -> None:
    def fates(contact: int, nth: int) -> Sequence[Happening]:
        return [Happening(Trigger.OPENED, 60), Happening(Trigger.CLICKED, 90)] if nth == 1 else []

    found = run(fates=fates)
    assert found.messages_by_node == {"intro": 100, "thanks": 100, "again": 0}
    assert found.finished_at == T0 + timedelta(seconds=90)


def test_a_machine_that_opens_moves_nobody() -> None:
    assert run(shares={"machine_opened": 1.0}).messages_by_node["again"] == 100


@pytest.mark.parametrize(
    ("share", "reason"),
    [
        ("bounced", "suppressed_bounce"),
        ("spam_report", "suppressed_complaint"),
        ("unsubscribed", "suppressed_unsubscribe"),
        ("replied", "replied"),
    ],
)
def test_what_concerns_the_person_ends_it(share: str, reason: str) -> None:
    plan = plan_of(send("intro", on("no_open", "again", after="P60D")), send("again"))
    found = run(plan, {share: 1.0})
    assert found.ends == {(STOPPED, reason): 100}
    assert found.messages_by_node == {"intro": 100, "again": 0}


def test_nobody_is_written_to_against_their_word_whatever_the_plan_says() -> None:
    plan = plan_of(send("intro", on("unsubscribed", "sorry")), send("sorry"))
    found = run(plan, {"unsubscribed": 1.0})
    assert found.messages_by_node == {"intro": 100, "sorry": 0}
    assert found.ends == {(STOPPED, "suppressed_unsubscribe"): 100}


def test_shares_are_about_right_and_the_same_seed_is_the_same_story() -> None:
    shares = {**NOTHING, "opened": 0.4, "bounced": 0.1}
    found = run(shares=shares, contacts=400)
    assert found == run(shares=shares, contacts=400)
    assert found != run(shares=shares, contacts=400, seed=2)
    assert 16 <= found.ends[STOPPED, "suppressed_bounce"] <= 64, "four deviations"


def test_mails_go_in_the_plans_hours_of_each_contact() -> None:
    window = {"days": ["mon", "tue"], "start": "09:00", "end": "10:00", "zone": "contact"}
    zones = Crowd([("Asia/Tokyo", 1.0), ("America/New_York", 1.0)])
    found = run(plan_of(send("intro"), send_window=window), start_at=T0, crowd=zones)
    # T0 is a Monday, 09:00 UTC: the hour is over in Tokyo and yet to come in New York.
    assert set(found.messages_by_day) == {date(2026, 5, 4), date(2026, 5, 5)}
    assert found.finished_at == datetime(2026, 5, 5, 0, tzinfo=UTC)


def test_what_its_limits_put_off_past_the_hour_waits_for_the_next_day() -> None:
    plan = plan_of(send("intro"), send_window={"start": "09:00", "end": "10:00"})
    found = run(plan, caps=capped(Scope.SENDER, Limits(per_hour=10)), contacts=30)
    assert list(found.messages_by_day.values()) == [10, 10, 10]


def at(mail: int, what: Trigger, hours: float) -> Fates:
    """One thing becomes of everybody's mail of this number, and nothing of the others."""

    def fates(contact: int, nth: int) -> Sequence[Happening]:
        return [Happening(what, hours * 3600)] if nth == mail else []

    return fates


def test_a_mail_that_waits_for_a_token_is_not_sent_to_who_has_answered_meanwhile() -> None:
    sent = []

    def fates(contact: int, nth: int) -> Sequence[Happening]:
        sent.append((contact, nth))
        return [Happening(Trigger.REPLIED, 24.1 * 3600)] if contact == 0 else []

    plan = plan_of(send("intro", on("no_open", "again", after="P1D")), send("again"))
    found = run(plan, fates=fates, caps=capped(Scope.SENDER, Limits(per_day=1)), contacts=2)
    assert sent == [(0, 1), (1, 1), (1, 2)]
    assert found.ends == {(STOPPED, "replied"): 1, (COMPLETED, "completed"): 1}
    assert found.binding_limit == "limit_day"


def test_a_late_open_of_the_first_mail_is_none_of_the_second() -> None:
    plan = plan_of(
        send("intro", on("no_open", "again", after="P1D")),
        send("again", on("opened", "thanks"), on("no_open", "stop", after="P9D")),
        send("thanks"),
    )
    found = run(plan, fates=at(1, Trigger.OPENED, 30))
    assert found.messages_by_node == {"intro": 100, "again": 100, "thanks": 0}


def test_an_open_of_the_first_mail_does_not_forbid_the_timer_of_the_second() -> None:
    plan = plan_of(
        send("intro", on("opened", "second")),
        send("second", on("no_open", "third", after="P1D")),
        send("third"),
    )
    found = run(plan, fates=at(1, Trigger.OPENED, 1))
    assert found.messages_by_node == {"intro": 100, "second": 100, "third": 100}


def test_an_address_that_took_a_mail_takes_the_next() -> None:
    plan = plan_of(
        send("intro", on("no_open", "again", after="P1D")),
        send("again", on("no_open", "third", after="P1D")),
        send("third"),
    )
    found = run(plan, {"bounced": 0.5}, contacts=200)
    assert found.messages_by_node["third"] == found.messages_by_node["again"] < 130


def test_a_plan_without_an_hour_fails_everybody() -> None:
    window = {"days": ["mon"], "start": "09:00", "end": "10:00"}
    quiet = {"start": "08:00", "end": "11:00"}
    found = run(plan_of(send("intro"), send_window=window, quiet_hours=quiet))
    assert found.ends == {(FAILED, "no_allowed_moment"): 100}
    assert (found.messages_by_day, found.last_message_at) == ({}, None)


def test_a_new_sender_warms_up() -> None:
    found = run(plan_of(send("intro")), contacts=1_000, caps=Caps(DEFAULTS))
    assert list(found.messages_by_day.values()) == [200, 200, 200, 400]
    assert found.binding_limit == "limit_warmup"


@pytest.mark.parametrize(
    ("caps", "limit", "hours"),
    [
        (capped(Scope.SENDER, Limits(per_minute=1)), "limit_minute", 1.7),
        (capped(Scope.TENANT, Limits(per_hour=10)), "limit_tenant", 9.3),
        (capped(Scope.INSTALLATION, Limits(per_hour=10)), "limit_installation", 9.3),
        (capped(Scope.DOMAIN, Limits(per_hour=10)), "limit_domain", 9.3),
    ],
)
def test_each_scope_binds(caps: Caps, limit: str, hours: float) -> None:
    found = run(plan_of(send("intro")), caps=caps, crowd=Crowd(domains=(1.0,)))
    assert found.binding_limit == limit
    assert found.messages_by_node == {"intro": 100}
    assert found.finished_at is not None
    assert found.finished_at - T0 == pytest.approx(timedelta(hours=hours), rel=0.06)


def test_a_full_domain_lets_the_others_go_on() -> None:
    caps = capped(Scope.DOMAIN, Limits(per_hour=5))
    found = run(plan_of(send("intro")), caps=caps, crowd=Crowd(domains=(0.2,)), seed=3)
    assert set(found.held_seconds) == {"limit_domain"}
    assert found.messages_by_node == {"intro": 100}


def test_a_limit_of_nothing_ends_the_simulation_and_not_the_contacts() -> None:
    found = run(caps=capped(Scope.SENDER, Limits(per_minute=0)))
    assert (found.unfinished, found.finished_at, found.messages_by_day) == (100, None, {})
    assert found.binding_limit == "limit_minute"


def test_a_plan_that_turns_for_ever_is_left_after_a_year() -> None:
    plan = plan_of(send("intro", on("no_open", "intro", after="P30D")))
    found = run(plan, contacts=5)
    assert (found.unfinished, found.finished_at) == (5, None)
    assert found.messages_by_node == {"intro": 5 * 13}
    assert found.stopped_at <= T0 + timedelta(days=366)


@pytest.mark.parametrize(
    "order",
    [
        Order(0, T0),
        Order(CONTACTS_MAX + 1, T0),
        Order(1, T0.replace(year=9999)),
    ],
)
def test_what_cannot_be_simulated_is_invalid(order: Order) -> None:
    with pytest.raises(Invalid):
        simulate(PLAN, order, Habits().fates(random.Random(1)), random.Random(1))


WRONG = ("opend=0.1", "opened", "opened=", "opened=x", "opened=1.01", "opened=-0.1", "opened=nan")


@pytest.mark.parametrize("word", [*WRONG, "opened=inf", "=0.1", ""])
def test_an_assumption_that_is_none_is_invalid(word: str) -> None:
    with pytest.raises(Invalid) as error:
        read_shares(["clicked=0.1", word])
    assert len(error.value.problems) == 1


def test_assumptions_lie_over_what_is_known_and_unknown_ones_are_told_the_known() -> None:
    assert read_shares(["opened=1", " clicked = 0 "]) == {**SHARES, "opened": 1.0, "clicked": 0.0}
    assert read_shares([], {**SHARES, "opened": 0.9})["opened"] == 0.9
    with pytest.raises(Invalid, match="known are opened, clicked, replied"):
        read_shares(["read=0.5"])


def test_every_end_of_the_simulation_is_one_of_the_three() -> None:
    found = run(shares={**SHARES}, contacts=500, caps=replace(UNLIMITED))
    assert {state for state, _ in found.ends} <= {COMPLETED, STOPPED, FAILED}
    assert sum(found.ends.values()) == 500
    assert EnrollmentState.ACTIVE not in {state for state, _ in found.ends}
