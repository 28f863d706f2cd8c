"""Child processes that are ready when we go on, and gone when we are.

Each child's standard input is a pipe that only we hold and nobody writes to: when we end, however
we end, it closes, and the child ends itself (see `cli/leash.py`). Children are sessions of their
own, so Ctrl-C at the terminal reaches us alone, and we end them in order. What they say goes to a
log file each.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from outreach.core.errors import Unavailable

READY_SECONDS_MAX = 40.0
STOP_SECONDS_MAX = 22.0  # a worker may take 20 to end what it does
LOOK_SECONDS = 0.02
TAIL_LINES = 5


@dataclass(frozen=True, slots=True)
class Child:
    """One process that we started."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        return self.log.read_text("utf-8", errors="replace")


class Crew:
    """The children of one run; leave the `with` block and they are gone."""

    def __init__(self, folder: Path) -> None:
        """`folder` takes the logs, each begun anew."""
        self._folder = folder
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Start a child, and do not wait for it."""
        log = self._folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=dict(environment),
                start_new_session=True,
            )
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def wait_for(self, child: Child, sign: str) -> None:
        """Return once the child has said so; raises Unavailable if it ends or takes too long."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while sign not in child.said():
            self.check()
            if time.monotonic() > deadline:
                raise Unavailable(f"The {child.name} does not get ready (see {child.log}).")
            time.sleep(LOOK_SECONDS)

    def check(self) -> None:
        """Raise Unavailable if a child has ended, with the last that it said."""
        for child in self._children:
            code = child.process.poll()
            if code is not None:
                tail = "\n".join(child.said().splitlines()[-TAIL_LINES:])
                raise Unavailable(f"The {child.name} ended with {code} (see {child.log}): {tail}")

    def stop(self) -> None:
        """Ask each to end, the last started first, and insist after a while."""
        for child in reversed(self._children):
            child.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS_MAX
        for child in reversed(self._children):
            try:
                child.process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            assert child.process.stdin is not None
            child.process.stdin.close()
        self._children.clear()
