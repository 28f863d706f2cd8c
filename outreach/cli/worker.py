"""`outreach worker`: sends, timers, webhooks and upkeep, until told to stop or nothing is left."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any

import typer

from outreach import log
from outreach.cli.ground import ground
from outreach.cli.shell import failures_as_exits
from outreach.config import Settings
from outreach.core.errors import Invalid
from outreach.store.wakeups import MAINTENANCE, QUEUES

app = typer.Typer(add_completion=False)


@app.command("worker")
def worker(
    queues: Annotated[
        str,
        typer.Option(
            help="Serve only these, separated by commas (sends, timers, webhooks); every worker"
            " serves maintenance. All by default."
        ),
    ] = "",
    concurrency: Annotated[int, typer.Option(min=1, max=200, help="Tasks at a time.")] = 8,
    until_idle: Annotated[
        bool,
        typer.Option("--until-idle", help="End when nothing can be done now."),
    ] = False,
) -> None:
    """Work through what is due, and keep doing so."""
    options: dict[str, Any] = {"concurrency": concurrency}
    with failures_as_exits():
        if names := [name.strip() for name in queues.split(",") if name.strip()]:
            options["queues"] = known_queues(names)
        with ground(embedded=False) as settings:
            log.configure(level=settings.log_level)
            _work(settings, options, until_idle)


def known_queues(names: list[str]) -> list[str]:
    """The names, if there are such queues; raises Invalid, since nothing would come out of others.

    A tenant may have a queue of its own: `sends.` and its slug.
    """
    known = sorted({*QUEUES.values(), MAINTENANCE})
    for name in names:
        if name not in known and not re.fullmatch(r"sends\.[a-z0-9-]+", name):
            raise Invalid.at("--queues", f"There is no queue {name}. There are {', '.join(known)}.")
    return names


def _work(settings: Settings, options: dict[str, Any], until_idle: bool) -> None:
    # Imported here: other commands need neither the loop nor the tasks.
    import uvloop

    from outreach.tasks import app as jobs
    from outreach.tasks.run import Orders, work
    from outreach.tasks.signals import stop_on_signals
    from outreach.tasks.startup import hush_libraries

    hush_libraries()

    async def main() -> None:
        with stop_on_signals() as stop:
            await work(jobs, settings, Orders(options, until_idle), stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
