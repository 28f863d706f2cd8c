"""The procrastinate app: `procrastinate --app=outreach.tasks.app …` finds it here.

Importing it needs neither a database nor an environment. Whichever command starts a worker, ours or
procrastinate's, gets the same one: `run_worker_async` is ours and ends in `tasks/run.py`.
"""

from __future__ import annotations

from typing import Any

from procrastinate import App

from outreach import config, log
from outreach.tasks import run
from outreach.tasks.connector import environment_connector
from outreach.tasks.signals import stop_on_signals
from outreach.tasks.startup import check_schema, hush_libraries


class OutreachApp(App):
    """An app whose worker reconnects, sweeps and stops in time."""

    async def run_worker_async(self, **options: Any) -> None:
        """Work until told to stop; `options` are procrastinate's, and go before our own."""
        settings = config.load()
        log.configure(level=settings.log_level)
        hush_libraries()
        await check_schema(settings)
        with stop_on_signals() as stop:
            await run.work(self, settings, run.Orders(options=options), stop)

    async def run_plain_worker_async(self, **options: Any) -> None:
        """procrastinate's own worker, which ends when its connection does."""
        await super().run_worker_async(**options)


app = OutreachApp(connector=environment_connector(), import_paths=["outreach.tasks.jobs"])
