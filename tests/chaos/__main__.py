"""`make chaos`: many trials of everything that can go wrong, and one table."""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
from pathlib import Path

from tests.chaos.result import recoveries, table
from tests.chaos.run import controls, plans, run_all

FOLDER = Path(".outreach/chaos")
DOUBLES_MIN = 0.1  # of the control's trials


def main() -> None:
    """Run, print, and end with 1 when the judge has found anything."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, help="one by chance unless given")
    parser.add_argument("--lanes", type=int, default=4, help="trials at a time")
    parser.add_argument("--only", default="", help="faults with this in their name")
    parser.add_argument("--control", type=int, default=20, help="trials of a sender that resends")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the lanes end with us
    seed = given.seed or random.SystemRandom().randrange(1, 1_000_000)
    print(f"seed {seed}: `make chaos TRIALS={given.trials} SEED={seed}` goes on where it ended.")
    name = f"{seed}-{given.only.replace(' ', '_').replace('/', '_')}" if given.only else f"{seed}"
    results = asyncio.run(
        run_all(
            plans(seed, given.trials, given.only),
            seed=seed,
            lanes=given.lanes,
            progress=FOLDER / f"{name}.jsonl",
        )
    )
    print()
    print(table(results.values()))
    for sentence in recoveries(list(results.values())):
        print(sentence)
    for reason in sorted({one.did_not_run for one in results.values() if one.did_not_run}):
        print(reason)
    control = asyncio.run(
        run_all(
            controls(given.control),
            seed=seed,
            lanes=given.lanes,
            progress=FOLDER / f"{seed}-control.jsonl",
        )
    )
    doubled = sum(one.doubles > 0 for one in control.values())
    print(f"control: of {len(control)} trials of a sender that resends, {doubled} doubled a mail.")
    bad = sum(not one.is_good for one in results.values())
    if bad:
        print(f"{bad} of {len(results)} trials are bad; seed {seed}.")
    if bad or doubled < DOUBLES_MIN * len(control):
        sys.exit(1)


if __name__ == "__main__":
    main()
