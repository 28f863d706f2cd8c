"""A lane: takes trials on standard input, a line of JSON each, and answers with their results."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import traceback
from time import monotonic

from outreach import log
from tests.chaos.faults import CONTROL, FAULTS, resending
from tests.chaos.lane import Lane, Trial, undisturbed
from tests.chaos.result import Result
from tests.support.database import running_databases


def main() -> None:
    """Serve until the input ends."""
    seed = sys.argv[1]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # server, pooler and small disk end, too
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever prints does not disturb the answers
    log.configure(level="ERROR", is_json=True)
    with running_databases(track_commit_timestamp="on") as databases:
        lane = Lane(databases, asyncio.run(undisturbed(databases)))
        for line in sys.stdin:
            number, fault = json.loads(line)
            result = trial(lane, seed, number, fault)
            answers.write(json.dumps(result.as_json()) + "\n")


def trial(lane: Lane, seed: str, number: int, fault: str) -> Result:
    """One trial, by its number and the seed; what ends it in another way is found, too."""
    result = Result(number, fault)
    run: Trial = resending if fault == CONTROL else FAULTS[fault].run
    began_at = monotonic()
    try:
        asyncio.run(run(lane, random.Random(f"{seed}:{number}"), result))
    except Exception as error:  # the edge of a trial: the next one goes on
        traceback.print_exc()
        result.note([f"it ended with {type(error).__name__}: {error}"[:300]])
    result.seconds = round(monotonic() - began_at, 3)
    return result


if __name__ == "__main__":
    main()
