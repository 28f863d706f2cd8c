"""One flight of a task at a time in a process, and a rest after a crash.

A wake-up that comes while its task is running joins it: the task is woken again at the end, so that
what was committed meanwhile is not missed. A task that failed is left alone for a while that
doubles; the sweep keeps asking, so nothing needs to be remembered but the moment.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic

REST_SECONDS = 1.0
REST_SECONDS_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Rest:
    """How often a task has failed in a row, and until when it is left alone."""

    failures: int
    until: float


class Flights:
    """What is running in this process, and what rests, by task and tenant."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._woken: dict[str, bool] = {}
        self._rests: dict[str, Rest] = {}

    async def fly(self, key: str, work: Callable[[], Awaitable[bool]]) -> bool:
        """Do `work` unless it is being done or rests; whether it must be woken again.

        Whatever it raises is raised, and starts a rest.
        """
        if key in self._woken:
            self._woken[key] = True
            return False
        if key in self._rests and self._clock() < self._rests[key].until:
            return False
        self._woken[key] = False
        try:
            is_work_left = await work()
        except Exception:
            self._rest(key)
            raise
        else:
            self._rests.pop(key, None)
            return is_work_left or self._woken[key]
        finally:
            del self._woken[key]

    def failing(self, failures_min: int) -> list[str]:
        """Tasks that have failed so often without a success between."""
        return sorted(key for key, rest in self._rests.items() if rest.failures >= failures_min)

    def _rest(self, key: str) -> None:
        failures = self._rests[key].failures + 1 if key in self._rests else 1
        seconds = min(REST_SECONDS * 2.0 ** min(failures - 1, 10), REST_SECONDS_MAX)
        self._rests[key] = Rest(failures, self._clock() + seconds)
