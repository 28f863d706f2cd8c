"""What a trial came to, as a line of the progress file, and the table over all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil
from time import monotonic
from typing import Any, Self

from outreach.dev.sandbox import SandboxServer

DOUBLE = ("accepted 2 times", "accepted 3 times", "accepted 4 times")
FALSE_SENT = ("sent, but never accepted",)
WINDOW = ("a window of",)


@dataclass(slots=True)
class Result:
    """One trial; counted by what the judge found, and how long it took to go on."""

    number: int = 0
    fault: str = ""
    seconds: float = 0.0
    kills: int = 0
    mails: int = 0
    unknown_before: int | None = None  # None: webhooks were not held back
    unknown_after: int = 0
    late: int = 0
    doubles: int = 0
    false_sent: int = 0
    windows: int = 0
    lost: int = 0  # everything else that the judge found
    worker_back: list[float] = field(default_factory=list)
    server_back: list[float] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    did_not_run: str | None = None
    # Deaths, and starts of a server: when, and how many mails had been accepted by then.
    watched: list[tuple[float, int]] = field(default_factory=list)
    watched_servers: list[tuple[float, int]] = field(default_factory=list)

    def note(self, found: Sequence[str]) -> None:
        """Keep what was found, by kind."""
        self.found.extend(found)
        self.doubles += sum(one.startswith(DOUBLE) for one in found)
        self.false_sent += sum(one.startswith(FALSE_SENT) for one in found)
        self.windows += sum(one.startswith(WINDOW) for one in found)
        known = DOUBLE + FALSE_SENT + WINDOW
        self.lost += sum(not one.startswith(known) for one in found)

    def watch(self, died_at: float, sandbox: SandboxServer) -> None:
        """From this death to the next mail that the provider accepts is how long it took."""
        self.watched.append((died_at, len(sandbox.accepted)))

    def measure(self, sandbox: SandboxServer) -> None:
        """Work out what was watched; a death after which there was nothing to send says nothing."""
        times = [one.accepted_monotonic for one in sandbox.accepted]
        for watched, back in (
            (self.watched, self.worker_back),
            (self.watched_servers, self.server_back),
        ):
            back.extend(round(min(times[n:]) - at, 3) for at, n in watched if times[n:])
            watched.clear()

    @property
    def is_good(self) -> bool:
        return not self.found

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(**data)


HEADS = ("fault", "trials", "bad", "mails", "kills", "twice", "false sent", "lost", "windows",
         "late", "unknown/kill", "after", "back p50", "p99")  # fmt: skip


def table(results: Iterable[Result]) -> str:
    """One row a fault, and one for all."""
    by_fault: dict[str, list[Result]] = defaultdict(list)
    for one in results:
        by_fault[one.fault].append(one)
    rows = [HEADS] + [_row(fault, some) for fault, some in sorted(by_fault.items())]
    rows.append(_row("all", [one for some in by_fault.values() for one in some]))
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEADS))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _row(fault: str, results: Sequence[Result]) -> tuple[str, ...]:
    ran = [one for one in results if one.did_not_run is None]
    killed = [one for one in ran if one.kills]
    told = killed or ran  # where nothing was killed, all that is unknown is counted
    held = [one for one in told if one.unknown_before is not None]
    kills = sum(one.kills for one in ran)
    back = sorted(second for one in ran for second in one.worker_back + one.server_back)
    before = sum(one.unknown_before or 0 for one in held)
    return (
        fault,
        str(len(ran)),
        str(sum(not one.is_good for one in ran)),
        str(sum(one.mails for one in ran)),
        str(kills),
        str(sum(one.doubles for one in ran)),
        str(sum(one.false_sent for one in ran)),
        str(sum(one.lost for one in ran)),
        str(sum(one.windows for one in ran)),
        str(sum(one.late for one in ran)),
        _share(before, sum(one.kills for one in held)),
        _share(sum(one.unknown_after for one in told), kills),
        _seconds(percentile(back, 0.5)),
        _seconds(percentile(back, 0.99)),
    )


def recoveries(results: Sequence[Result]) -> Iterator[str]:
    """How long it took to go on after a death, in a sentence for workers and one for servers."""
    for what, back in (
        ("a worker's death", sorted(second for one in results for second in one.worker_back)),
        ("a server's first answer", sorted(s for one in results for s in one.server_back)),
    ):
        if back:
            p50, p99 = _seconds(percentile(back, 0.5)), _seconds(percentile(back, 0.99))
            yield f"from {what} to the next mail: p50 {p50}, p99 {p99}, of {len(back)}"


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that so large a share does not exceed."""
    return ordered[max(ceil(share * len(ordered)) - 1, 0)] if ordered else None


def _share(count: int, kills: int) -> str:
    return f"{count / kills:.2f}" if kills else str(count)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def now() -> float:
    """The clock of all durations here."""
    return monotonic()
