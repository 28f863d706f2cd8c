"""Trials over several lanes, one after the other in each, and a file that says how far they came.

Which trial has which number follows from the seed alone. Each result is a line of the progress
file; a run of the same seed reads it and goes on behind it. A lane is a process with a server of
its own, so that a server can be killed without harm to the trials of others.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.faults import CONTROL, FAULTS
from tests.chaos.result import Result, now

SERVER_KILLS_MAX = 200
SAY_SECONDS = 15.0
LINE_BYTES_MAX = 1_000_000
TRIAL_SECONDS_MAX = 150.0


@dataclass(frozen=True, slots=True)
class Plan:
    """One trial that is to come."""

    number: int
    fault: str


def plans(seed: int, trials: int, only: str = "") -> list[Plan]:
    """The trials of a seed; kills of a server are no more than are allowed."""
    names = [name for name in FAULTS if only in name]
    if not names:
        raise SystemExit(f"No fault is named like {only!r}. There are: {', '.join(FAULTS)}.")
    weights = [FAULTS[name].weight for name in names]
    chance = random.Random(seed)
    chosen, kills = [], 0
    for number in range(trials):
        name = names[number] if number < len(names) else chance.choices(names, weights)[0]
        if FAULTS[name].kills_server:
            kills += 1
            if kills > SERVER_KILLS_MAX:
                name = names[number % len(names)]
                name = name if not FAULTS[name].kills_server else "worker: kill -9 at a point"
        chosen.append(Plan(number, name))
    return chosen


def controls(trials: int) -> list[Plan]:
    """As many trials of the sender that does it wrong."""
    return [Plan(number, CONTROL) for number in range(trials)]


def read_progress(path: Path) -> dict[int, Result]:
    """What an earlier run came to; a line that a kill has cut is left out."""
    found: dict[int, Result] = {}
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                one = Result.from_json(json.loads(line))
            except (json.JSONDecodeError, TypeError):
                continue
            found[one.number] = one
    return found


async def run_all(
    wanted: Iterable[Plan], *, seed: int, lanes: int, progress: Path
) -> dict[int, Result]:
    """The results of these trials by number, those of an earlier run among them."""
    wanted = list(wanted)
    numbers = {plan.number for plan in wanted}
    results = {n: one for n, one in read_progress(progress).items() if n in numbers}
    left = deque(plan for plan in wanted if plan.number not in results)
    if results:
        print(f"{len(results)} trials are done already ({progress}), {len(left)} are left.")
    began_at, done_before = now(), len(results)

    async def say() -> None:
        while True:
            await asyncio.sleep(SAY_SECONDS)
            rate = (len(results) - done_before) / (now() - began_at)
            bad = sum(not one.is_good and one.fault != CONTROL for one in results.values())
            print(f"{len(results)} of {len(wanted)} trials, {rate:.1f} a second, {bad} bad")

    talker = asyncio.create_task(say())
    progress.parent.mkdir(parents=True, exist_ok=True)
    try:
        with progress.open("a", buffering=1) as file:

            def keep(one: Result) -> None:
                results[one.number] = one
                file.write(json.dumps(one.as_json()) + "\n")
                for sentence in one.found if one.fault != CONTROL else ():
                    print(f"bad: seed {seed}, trial {one.number}, {one.fault}: {sentence}")

            log = progress.parent / "lane"
            async with asyncio.TaskGroup() as group:
                for number in range(min(lanes, len(left))):
                    group.create_task(_lane(left, seed, Path(f"{log}-{number}.log"), keep))
    finally:
        talker.cancel()
    return results


async def _lane(left: deque[Plan], seed: int, log: Path, keep: object) -> None:
    """Hand trials to a process until none is left; one that dies or hangs is a bad trial."""
    assert callable(keep)
    process: Process | None = None
    with log.open("ab") as errors:
        try:
            while left:
                plan = left.popleft()
                if process is None:
                    process = await asyncio.create_subprocess_exec(
                        sys.executable, "-m", "tests.chaos.lane_process", str(seed),
                        stdin=PIPE, stdout=PIPE, stderr=errors,
                        limit=LINE_BYTES_MAX, start_new_session=True,
                    )  # fmt: skip
                result = await _trial(process, plan)
                if result is None:
                    await _end(process)
                    process = None
                    result = Result(plan.number, plan.fault)
                    result.note(["the lane ended or hung"])
                keep(result)
        finally:
            if process is not None:
                await _end(process)


async def _trial(process: Process, plan: Plan) -> Result | None:
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps([plan.number, plan.fault]).encode() + b"\n")
        await process.stdin.drain()
        line = await asyncio.wait_for(process.stdout.readline(), TRIAL_SECONDS_MAX)
    except (ConnectionError, TimeoutError):
        return None
    return Result.from_json(json.loads(line)) if line.endswith(b"\n") else None


async def _end(process: Process) -> None:
    """Let it go in good order, so that its server stops with it; then make sure."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), 20)
    except TimeoutError:
        process.send_signal(signal.SIGKILL)
        await process.wait()
