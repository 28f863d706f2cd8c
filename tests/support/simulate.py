"""The demo's plan simulated with the stand-in's own readers, and with made-up ones of its rates."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from outreach.cli.demo import PACE, PER_DAY, PER_HOUR, PER_MINUTE
from outreach.core.limits import DEFAULTS, Limits, Scope
from outreach.core.plan import Trigger, parse_plan
from outreach.core.simulate import simulate
from outreach.core.simulate_habits import (
    SHARES,
    Between,
    Delays,
    Fates,
    Habits,
    Happening,
)
from outreach.core.simulate_order import Order, Outcome
from outreach.core.simulate_tokens import Caps
from outreach.dev import demo_data
from outreach.dev.sandbox import fates as sandbox
from outreach.dev.sandbox.settings import FateRates

START = datetime(2026, 5, 4, 9, tzinfo=UTC)
SENDER = Limits(PER_MINUTE, PER_HOUR, PER_DAY, warm_up=PER_DAY)
CAPS = Caps({**DEFAULTS, Scope.SENDER: SENDER})
UNLIMITED = Caps({scope: Limits() for scope in Scope})
RATES = FateRates()
PLAN = parse_plan(demo_data.PLAN)

# Of the contacts, in any count: late webhooks and slow workers; and beside that, chance.
STORY_ERROR_MAX = 0.02
RATES_ERROR_MAX = 0.05

# What the stand-in calls what a plan hears of; the rest of its words no plan can name.
HEARD = {
    sandbox.Happening.DELIVERED: Trigger.DELIVERED,
    sandbox.Happening.BOUNCED: Trigger.BOUNCED,
    sandbox.Happening.BLOCKED: Trigger.BLOCKED,
    sandbox.Happening.OPENED: Trigger.OPENED,
    sandbox.Happening.OPENED_BY_MACHINE: Trigger.OPENED,
    sandbox.Happening.CLICKED: Trigger.CLICKED,
    sandbox.Happening.UNSUBSCRIBED: Trigger.UNSUBSCRIBED,
    sandbox.Happening.REPORTED_SPAM: Trigger.SPAM_REPORT,
}


def demo_addresses(path: Path) -> list[str]:
    """The addresses that the demo's import lets in, each once."""
    demo_data.write_contacts(path)
    with path.open(encoding="utf-8", newline="") as file:
        good = [row for row in csv.DictReader(file) if row["timezone"] != "Mars/Olympus"]
    return list(dict.fromkeys(row["email"] for row in good if "@" in row["email"]))


def sandbox_fates(seed: int, addresses: Sequence[str]) -> Fates:
    """What the stand-in will do with the nth mail to each of them, when all goes at its pace."""

    def fate(contact: int, nth: int) -> list[Happening]:
        story = sandbox.fate_of(seed, addresses[contact], nth, RATES)
        return [
            Happening(
                HEARD[step.what],
                step.happens_after * PACE,
                is_machine=step.what is sandbox.Happening.OPENED_BY_MACHINE,
            )
            for step in story.steps
            if step.what in HEARD
        ]

    return fate


def by_story(seed: int, addresses: Sequence[str]) -> Outcome:
    """The simulation in which each contact has the fate that the stand-in gives its address."""
    order = Order(len(addresses), START, CAPS)
    return simulate(PLAN, order, sandbox_fates(seed, addresses), random.Random(seed))


def by_rates(seed: int, contacts: int, **wrong: float) -> Outcome:
    """The simulation that knows the stand-in's rates and delays, and nothing of its contacts."""
    shares = {
        **SHARES,
        "opened": RATES.open,
        "clicked": RATES.open * RATES.click,
        "replied": 0.0,
        "bounced": RATES.bounce,
        "blocked": RATES.block + RATES.defer * 0.1,
        "unsubscribed": RATES.unsubscribe,
        "spam_report": RATES.spam,
        "machine_opened": RATES.machine_open,
        **wrong,
    }
    delays = Delays(
        arrives=paced(0.5, 2.0),
        machine_opens=paced(0.2, 1.5),
        opens=paced(1.0, 8.0),
        clicks=paced(0.5, 4.0),
        leaves=paced(2.0, 12.0),
    )
    chance = random.Random(seed)
    fates = Habits(shares, delays).fates(chance)
    return simulate(PLAN, Order(contacts, START, UNLIMITED), fates, chance)


def shares_of(outcome: Outcome, contacts: int) -> dict[str, float]:
    """Mails by step and contacts by their end, each for one contact."""
    ends = {f"{state.value} {why}": count for (state, why), count in outcome.ends.items()}
    return {what: n / contacts for what, n in {**outcome.messages_by_node, **ends}.items()}


def shares_of_report(report: dict[str, Any]) -> dict[str, float]:
    """The same of what the engine did, by the demo's report."""
    ends = {f"{end['code']} {end['reason']}": end["count"] for end in report["ends"]}
    counts = {**report["messages_by_node"], **ends}
    return {what: count / report["enrollments"]["total"] for what, count in counts.items()}


def biggest_difference(one: dict[str, float], other: dict[str, float]) -> float:
    """By how much they differ at most, of whatever either counts."""
    return max(abs(one.get(what, 0.0) - other.get(what, 0.0)) for what in {*one, *other})


def paced(least: float, most: float) -> Between:
    return Between(least * PACE, most * PACE)
