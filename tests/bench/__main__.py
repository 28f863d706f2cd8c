"""`make bench`: measure sending, beside the rival where there is one, as a table and as JSON.

    make bench ARGS='--messages 5000 --rounds 3 --json bench.json'
    make bench ARGS='--latency 0 --plan rich --batch 200'
    make bench ARGS='--memory 1000000'       a worker's memory over a million messages, by itself

Runs of ours and of the rival take turns, so that both have the machine's good and bad moments; the
table has medians. `OUTREACH_BENCH_PEER` names the rival's folder (tests/bench/peer.py).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg

from tests.bench import ground, memory, peer, send, shape, table

CONNECTIONS = 50  # of both sides, unless told; the rival's own measure
LOAD_MAX = 0.5


def main() -> None:
    """Measure, print, and keep."""
    given = _arguments()
    load = os.getloadavg()[0]
    if load > LOAD_MAX:
        print(f"note: the machine's load is {load:.1f}; figures taken now say little")
    results: dict[str, Any] = {"load": load, "given": {**vars(given), "json": None}}
    with ExitStack() as stack:
        place = stack.enter_context(ground.ground())
        results["postgres"] = place.server.version
        rival = _rival(stack, place, results)
        program = _program(place, results)
        connection = stack.enter_context(psycopg.connect(place.conninfo, autocommit=True))
        shape.seed(connection, plan_kind=given.plan, limits=given.limits)
        if given.memory:
            results["memory"] = _memory(given, place, connection, program)
        else:
            results["send"] = _rates(given, place, connection, program, rival)
    text = json.dumps(results, indent=2)
    if given.json is None:
        print(text)
    else:
        given.json.write_text(text + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=5_000, help="of each run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side at each latency")
    parser.add_argument("--latency", type=int, nargs="+", default=[0, 50], help="milliseconds")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="to the provider")
    parser.add_argument("--batch", type=int, help="messages claimed at a time; the default's")
    parser.add_argument("--in-flight", type=int, help="batches at a time; the default's")
    parser.add_argument("--plan", choices=shape.PLANS, default="plain", help="how rich plans are")
    parser.add_argument("--limits", choices=shape.LIMITS, default="on", help="windows that count")
    parser.add_argument("--memory", type=int, metavar="MESSAGES", help="only this: memory over it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures there")
    return parser.parse_args()


def _rival(stack: ExitStack, place: ground.Ground, results: dict[str, Any]) -> peer.Peer | None:
    folder = peer.named()
    if folder is None:
        _note(results, f"The rival is left out: {peer.VARIABLE} names no folder.")
        return None
    found = stack.enter_context(peer.prepared(place, folder))
    if isinstance(found, str):
        _note(results, found)
        return None
    return found


def _program(place: ground.Ground, results: dict[str, Any]) -> Path | None:
    """The stand-in for all runs: the rival's when there is one, else our sandbox."""
    program = peer.stand_in_program(place)
    if program is None:
        _note(results, "The stand-in is our sandbox, which takes much of a small machine itself.")
    return program


def _note(results: dict[str, Any], sentence: str) -> None:
    results.setdefault("notes", []).append(sentence)
    print(f"note: {sentence}", file=sys.stderr)


def _rates(
    given: argparse.Namespace,
    place: ground.Ground,
    connection: psycopg.Connection[Any],
    program: Path | None,
    rival: peer.Peer | None,
) -> list[dict[str, Any]]:
    environment = send.environment_of(given.connections, given.batch, given.in_flight)
    with ground.stand_in(0, program) as sandbox:
        shape.make_due(connection, given.messages, "history-")  # statistics are real then
        send.drain(connection, place.conninfo, sandbox, environment)
        connection.execute("vacuum (analyze)")
        start = send.drain(connection, place.conninfo, sandbox, environment)
    measured = []
    for latency in given.latency:
        ours: list[dict[str, Any]] = []
        theirs: list[dict[str, Any]] = []
        with ground.stand_in(latency, program) as sandbox:
            for number in range(given.rounds):
                shape.make_due(connection, given.messages, f"r{latency}-{number}-")
                shape.settle(connection)
                run = send.drain(connection, place.conninfo, sandbox, environment)
                ours.append(send.figures(connection, run, start, given.messages))
                if rival is not None:
                    theirs.append(
                        rival.run(
                            given.messages,
                            sandbox,
                            latency_ms=latency,
                            connections=given.connections,
                        )
                    )
            bare = asyncio.run(send.requests_per_second(sandbox, given.messages, given.connections))
        print("\n" + "\n".join(table.lines(latency, ours, theirs)))
        print(f"{'bare requests/s of our client':50} {bare:>10,.0f}")
        measured.append(
            {
                "latency_ms": latency,
                "stand_in": sandbox.name,
                "start": {"seconds": round(start.wall, 2), "cpu": round(start.worker_cpu, 2)},
                "ours": ours,
                "rival": theirs,
                "requests_per_second": round(bare),
                "median": {"ours": table.middle(ours), "rival": table.middle(theirs)},
            }
        )
    return measured


def _memory(
    given: argparse.Namespace,
    place: ground.Ground,
    connection: psycopg.Connection[Any],
    program: Path | None,
) -> dict[str, Any]:
    environment = send.environment_of(given.connections, given.batch, given.in_flight)
    with ground.stand_in(0, program) as sandbox:
        found = memory.measure(connection, place.conninfo, sandbox, environment, given.memory)
    print(f"\nmemory of a worker over {given.memory:,} messages")
    for name, value in found.items():
        print(f"  {name:24} {value}")
    return found


if __name__ == "__main__":
    main()
