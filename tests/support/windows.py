"""An oracle for sliding windows that shares nothing with the code it judges."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


def fullest_window(moments: Sequence[float], window_seconds: float) -> int:
    """The most of `moments` (seconds) in any half-open window of this length, wherever it begins.

    A window that is fullest can be moved until it begins at one of the moments.
    """
    ordered = sorted(moments)
    return max(
        (
            bisect_left(ordered, start + window_seconds) - index
            for index, start in enumerate(ordered)
        ),
        default=0,
    )


def most_in_the_long_run(cap: int, window_seconds: float, span_seconds: float) -> float:
    """What a perfect sender's rate makes of a span: `cap` in each window's length."""
    return cap * span_seconds / window_seconds
