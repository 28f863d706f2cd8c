"""The demo's plan simulated: made-up readers do what those do whose stories the stand-in tells.

That the engine then does the same is seen where the demo runs (`tests/cli/test_demo.py`).
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from tests.support.simulate import (
    RATES_ERROR_MAX,
    START,
    biggest_difference,
    by_rates,
    by_story,
    demo_addresses,
    shares_of,
)


def test_rates_foretell_what_the_stories_come_to(tmp_path: Path) -> None:
    addresses = demo_addresses(tmp_path / "contacts.csv")
    told = by_story(7, addresses)
    guessed = shares_of(by_rates(2, len(addresses)), len(addresses))
    assert biggest_difference(shares_of(told, len(addresses)), guessed) <= RATES_ERROR_MAX
    assert told.finished_at is not None
    assert told.finished_at - START < timedelta(seconds=16), "the demo ends soon after"
    assert told.unfinished == 0


def test_a_wrong_assumption_is_outside_the_stated_error(tmp_path: Path) -> None:
    addresses = demo_addresses(tmp_path / "contacts.csv")[:300]
    told = shares_of(by_story(7, addresses), len(addresses))
    wrong = shares_of(by_rates(2, len(addresses), clicked=0.3), len(addresses))
    assert biggest_difference(told, wrong) > RATES_ERROR_MAX
