"""A plan tried out before anybody gets mail: under whose limits, with which readers, by which seed.

The simulation itself is `core.simulate`. Chance comes from here: one generator made of the seed, so
the same wish gives the same answer on every machine. (Python promises that `random()` of a seeded
generator stays the same between versions.)
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from outreach.core.plan import Plan, parse_plan
from outreach.core.simulate import simulate
from outreach.core.simulate_habits import SHARES, Habits, read_shares
from outreach.core.simulate_order import Order, Outcome
from outreach.core.simulate_tokens import Caps
from outreach.core.simulate_world import Crowd


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to know."""

    plan: bytes
    start_at: datetime
    contacts: int = 1_000
    assume: Sequence[str] = ()  # `opened=0.4`
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Past:
    """The tenant's own mails that the shares were counted from, unless they were too few."""

    days: int
    mails: int
    is_used: bool


@dataclass(frozen=True, slots=True)
class Ground:
    """Where the plan is to run: a new installation's defaults, unless a tenant says otherwise."""

    caps: Caps = field(default_factory=Caps)
    shares: Mapping[str, float] = field(default_factory=lambda: SHARES)
    crowd: Crowd = field(default_factory=Crowd)
    past: Past | None = None


@dataclass(frozen=True, slots=True)
class Simulated:
    """The answer, and what it rests on."""

    plan: Plan
    outcome: Outcome
    assumptions: Mapping[str, float]
    past: Past | None


def try_out(wish: Wish, ground: Ground | None = None) -> Simulated:
    """Run the plan on made-up readers; Invalid for a plan or an assumption that is none."""
    ground = ground or Ground()
    plan, shares = parse_plan(wish.plan), read_shares(wish.assume, ground.shares)
    crowd = Crowd(ground.crowd.zones, _domains(ground, shares["same_domain"]))
    order = Order(wish.contacts, wish.start_at, ground.caps, crowd)
    chance = random.Random(wish.seed)  # noqa: S311 - made-up readers need no secret numbers
    outcome = simulate(plan, order, Habits(shares).fates(chance), chance)
    return Simulated(plan, outcome, shares, ground.past)


def _domains(ground: Ground, biggest: float) -> tuple[float, ...]:
    """The shares of big domains; an assumption about the biggest leaves less for the others."""
    if biggest == ground.shares["same_domain"]:
        return tuple(ground.crowd.domains) or (biggest,)
    return (biggest,)
