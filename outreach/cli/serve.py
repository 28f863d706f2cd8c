"""`outreach serve`: webhooks, unsubscribe links and health over HTTP."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from outreach import log
from outreach.cli.ground import ground
from outreach.cli.shell import failures_as_exits
from outreach.config import Settings
from outreach.db import Database

app = typer.Typer()


@app.command("serve", help="Take webhooks and unsubscribes over HTTP, until told to stop.")
def serve_command(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 8000,
) -> None:
    """Serve until SIGTERM or Ctrl-C; one line on standard error tells that it is ready."""
    with failures_as_exits(), ground(embedded=False) as settings:
        log.configure(level=settings.log_level)
        _serve(settings, host, port)


def _serve(settings: Settings, host: str, port: int) -> None:
    # Imported here: other commands need neither the loop nor the application.
    import uvloop

    from outreach.providers.sendgrid_webhook import WebhookVerifier
    from outreach.web.serve import serve

    verifier = WebhookVerifier(settings.sendgrid_webhook_public_keys)
    mail_keys = settings.sendgrid_inbound_public_keys
    path = "SENDGRID_INBOUND_PUBLIC_KEY"
    inbound = WebhookVerifier(mail_keys, path=path) if mail_keys else None
    assert settings.dsn is not None
    database = Database.at(
        settings.dsn,
        size_max=settings.pool_size,
        is_pooled=settings.pooled,
        application="outreach-serve",
    )

    async def main() -> None:
        async with database as db:
            await serve(settings, db, host, port, verifier=verifier, inbound=inbound)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
