"""What the demo shows: a line a step, live figures, the report. Plain lines when piped."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from outreach.cli.demo_report import Check
from outreach.cli.shell import printable
from outreach.services.reconcile import Progress

PLAIN_SECONDS = 1.0
EVENTS = ("delivered", "opened", "clicked", "bounced", "blocked", "unsubscribed", "spam_report")
ENDS = ("completed", "stopped", "failed")


class Screen:
    """Writes to one console; data never steers it (no markup)."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._steps = 0
        self._live: Live | None = None
        self._shown = ("", 0.0)
        self._nodes: Sequence[str] = ()

    def title(self, text: str) -> None:
        self._line(Text(text, style="bold"))

    def step(self, sentence: str, command: Sequence[str] = ()) -> None:
        """One thing that was done, and the command that does it."""
        self._steps += 1
        self._line(Text(f"{self._steps:>2}  {printable(sentence)}"))
        if command:
            self._line(Text(f"    $ outreach {shlex.join(command)}", style="dim"))

    def say(self, text: str = "", style: str = "") -> None:
        self._line(Text(printable(text, keep="\n"), style=style))

    @contextmanager
    def watching(self, nodes: Sequence[str]) -> Iterator[None]:
        """On a terminal the figures stay in place until the block ends."""
        self._nodes = nodes
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, refresh_per_second=8) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def figures(self, found: Progress, seconds: float, *, is_last: bool = False) -> None:
        """Where everything is now."""
        if self._live is not None:
            self._live.update(self._drawn(found, seconds))
            return
        line = _plain(found)
        before, at = self._shown
        if line != before and (is_last or seconds - at >= PLAIN_SECONDS):
            self._shown = (line, seconds)
            self._line(Text(f"    {seconds:4.0f} s  {line}"))

    def check(self, check: Check) -> None:
        mark, style = ("ok", "green") if check.is_ok else ("FAILED", "bold red")
        self._line(Text.assemble("    ", (f"{mark:<6} ", style), printable(check.sentence)))

    def _drawn(self, found: Progress, seconds: float) -> RenderableType:
        """Rows of a name and four counts, under 80 columns wide; then how far it is."""
        grid = Table.grid(padding=(0, 1))
        grid.add_column(style="dim", min_width=11)
        for label_width in (9, 12, 10, 8):
            grid.add_column(min_width=5)
            grid.add_column(min_width=label_width)
        for name, counts in self._rows(found):
            pairs = [
                (Text(f"{count:,}", style="bold" if count else "dim", justify="right"), label)
                for label, count in counts.items()
            ]
            grid.add_row(f"    {name}", *(cell for pair in pairs for cell in pair))
        bar = Table.grid(padding=(0, 1))
        done = ProgressBar(max(found.total, 1), found.ended, width=54)
        bar.add_row("   ", done, f"{found.ended:,} of {found.total:,}", f"{seconds:.0f} s")
        return Group(Text(""), grid, bar)

    def _rows(self, found: Progress) -> Iterator[tuple[str, dict[str, int]]]:
        messages, events = found.messages, found.events
        yield (
            "mail",
            {
                "sent": messages["sent"],
                "on its way": messages["sending"],
                "unknown": messages["unknown"],
                "failed": messages["failed"],
            },
        )
        yield "events", {name: events[name] for name in EVENTS[:4]}
        yield (
            "",
            {
                "blocked": events["blocked"],
                "unsubscribed": events["unsubscribed"],
                "complained": events["spam_report"],
                "machines": found.machine_events,
            },
        )
        yield "at step", {node.replace("_", " "): found.at_node[node] for node in self._nodes}
        yield "ended", {name: found.enrollments[name] for name in ENDS}

    def _line(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True, highlight=False)


def _plain(found: Progress) -> str:
    events = ", ".join(
        f"{found.events[name]:,} {name.replace('_', ' ')}" for name in EVENTS if found.events[name]
    )
    parts = [f"{found.messages['sent']:,} sent", *([events] if events else [])]
    return f"{', '.join(parts)}; {found.ended:,} of {found.total:,} at their end"
