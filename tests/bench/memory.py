"""A worker's memory while it sends very many messages: flat, or does it grow?

Everything is due at once, so this is also the largest backlog that its memory must not depend on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any, LiteralString

import psycopg

from tests.bench import ground, send, shape

LOOK_SECONDS = 1.0
CHUNK = 100_000  # rows laid in one statement
POINTS = 10

SENT: LiteralString = """
select n_tup_ins from pg_stat_user_tables where relname = 'send_attempts'
"""


@dataclass(frozen=True, slots=True)
class Look:
    """How much was held when so many had been sent."""

    sent: int
    memory_mb: float


def measure(
    connection: psycopg.Connection[Any],
    conninfo: str,
    sandbox: ground.StandIn,
    given: dict[str, str],
    messages: int,
) -> dict[str, Any]:
    """One long life of a worker, looked at each second."""
    for start in range(0, messages, CHUNK):
        shape.make_due(connection, min(CHUNK, messages - start), f"long{start}-")
    shape.settle(connection)
    ((before,),) = connection.execute(SENT).fetchall()
    looks: list[Look] = []
    began = monotonic()
    with send.worker(conninfo, sandbox, given) as process:
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            ((sent,),) = connection.execute(SENT).fetchall()
            looks.append(Look(sent - before, ground.memory_mb(process.pid)))
            sleep(LOOK_SECONDS)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"the worker ended with {process.returncode}"
    return {
        "messages": messages,
        "seconds": round(monotonic() - began),
        "memory_max_mb": round(usage.ru_maxrss / 1024, 1),
        **_curve(looks, messages),
    }


def _curve(looks: list[Look], messages: int) -> dict[str, Any]:
    """Memory at each tenth, and its slope over the last three quarters by least squares."""
    at = {}
    for point in range(1, POINTS + 1):
        reached = [one for one in looks if one.sent >= messages * point / POINTS]
        if reached:
            at[f"at_{100 * point // POINTS}_percent_mb"] = round(reached[0].memory_mb, 1)
    late = [one for one in looks if one.sent >= messages / 4]
    return {**at, "growth_mb_per_100000": slope(late)}


def slope(looks: list[Look]) -> float | None:
    """Of memory over what was sent, by least squares; None where nothing moved."""
    if len(looks) < 2 or looks[0].sent == looks[-1].sent:
        return None
    xs = [one.sent / 100_000 for one in looks]
    ys = [one.memory_mb for one in looks]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    over = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True))
    return round(over / sum((a - x) ** 2 for a in xs), 2)
