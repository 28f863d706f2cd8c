"""`make model`: many steps of the plan interpreter beside the model, and every difference shrunk.

    make model ARGS='--steps 100000 --seed 7'

Rounds of lives are led until that many steps were compared; each round has its seed, so that a run
can be repeated. Ends with 1 at the first difference, which is told as the shortest life that shows
it.
"""

from __future__ import annotations

import argparse
import sys
import time

from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import Lives

LIVES = 100  # of a round
STEPS = 50  # of a life, at most


def main() -> int:
    """Compare, count, and tell."""
    parser = argparse.ArgumentParser(
        prog="make model", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=100_000, help="to compare at the least")
    parser.add_argument("--seed", type=int, default=1, help="of the first round")
    given = parser.parse_args()
    started, round_, compared = time.monotonic(), given.seed, 0
    try:
        while Lives.steps < given.steps:
            lead(round_)
            round_, compared = round_ + 1, Lives.steps
    except AssertionError:
        print(f"a difference, by seed {round_}, after {compared} steps", file=sys.stderr)
        raise
    took = time.monotonic() - started
    print(f"{Lives.steps} steps compared in {took:.0f} s, seeds {given.seed} to {round_ - 1}:")
    for what, count in Lives.told_of.most_common():
        print(f"  {what:32} {count:>8}")
    print("no difference")
    return 0


def lead(round_: int, lives: int = LIVES) -> None:
    """One round; what hypothesis finds is raised, shrunk and with the life that leads there."""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]  # hypothesis leaves it untyped
        seed(round_)(Lives),
        settings=settings(
            max_examples=lives,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
