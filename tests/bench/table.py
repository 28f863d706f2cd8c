"""Figures as people read them: ours beside the rival's, and what is to be reached."""

from __future__ import annotations

from statistics import median
from typing import Any

# Of a figure: whether more is better, and the ratio to the rival that is to be reached, by latency.
RATE = "messages_per_second"
RATIOS = {(RATE, 0): (2.5, True), (RATE, 50): (1.15, True), ("cpu_us", 0): (1 / 3, False)}
MOST = {"statements": 0.15, "commits": 0.06, "worker_memory_mb": 250}
NAMES = {
    RATE: "messages/s, first armed to last recorded",
    "steady_per_second": "the same, last three quarters",
    "whole_per_second": "the same, whole process",
    "cpu_us": "CPU a message, worker + PostgreSQL (+ Redis), us",
    "worker_cpu_us": "  of the worker",
    "postgres_cpu_us": "  of PostgreSQL",
    "redis_cpu_us": "  of Redis",
    "statements": "statements a message",
    "commits": "commits a message",
    "worker_memory_mb": "memory of the worker at most, MB",
    "foreign_cores": "cores taken by others meanwhile",
}


def middle(runs: list[dict[str, Any]]) -> dict[str, float]:
    """The median of each figure."""
    names = [name for name in NAMES if runs and name in runs[0]]
    return {name: round(median(run[name] for run in runs), 3) for name in names}


def verdict(name: str, latency_ms: int, ours: float, theirs: float | None) -> str:
    """What is to be reached and whether it is; empty where nothing is asked."""
    if name in MOST:
        return f"<= {MOST[name]:g}: {'reached' if ours <= MOST[name] else 'MISSED'}"
    if theirs and (name, latency_ms) in RATIOS:
        bound, is_more = RATIOS[name, latency_ms]
        is_reached = ours / theirs >= bound if is_more else ours / theirs <= bound
        sign = ">=" if is_more else "<="
        return f"{sign} {bound:.2f} x: {'reached' if is_reached else 'MISSED'}"
    return ""


def lines(latency_ms: int, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> list[str]:
    """The table of one latency, medians over the rounds."""
    mine, other = middle(ours), middle(theirs)
    head = f"{f'stand-in at {latency_ms} ms':50} {'ours':>10} {'rival':>10} {'ratio':>7}  to reach"
    rows = [head, "-" * len(head)]
    for name, title in NAMES.items():
        own, rival = mine.get(name), other.get(name)
        if own is None and rival is None:
            continue
        ratio = f"{own / rival:.2f}" if own is not None and rival else ""
        said = "" if own is None else verdict(name, latency_ms, own, rival)
        rows.append(f"{title:50} {_text(own):>10} {_text(rival):>10} {ratio:>7}  {said}".rstrip())
    return rows


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:,g}" if value < 10_000 else f"{value:,.0f}"
