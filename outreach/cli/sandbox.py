"""`outreach sandbox`: the stand-in SendGrid as a process of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from outreach.cli.shell import failures_as_exits
from outreach.core.errors import Unavailable

app = typer.Typer()


@app.command("sandbox", help="Stand in for SendGrid: take mail, tell what became of it.")
def sandbox_command(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 8025,
    webhook_url: Annotated[
        str | None, typer.Option(help="Where signed events go; without it there are none.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides every fate and the key pair.")] = 1,
    latency_ms: Annotated[int, typer.Option(min=0, help="How long each answer takes.")] = 0,
    pace: Annotated[
        float, typer.Option(min=0.001, max=10_000, help="0.5: people act in half the time.")
    ] = 1.0,
) -> None:
    """Serve until SIGTERM or Ctrl-C; one JSON line on standard output tells that it is ready."""
    # Imported here: other commands need no server.
    from outreach.dev.sandbox import SandboxSettings, run

    settings = SandboxSettings(
        webhook_url=webhook_url, seed=seed, latency_ms=latency_ms, port=port, time_scale=pace
    )
    with failures_as_exits():
        try:
            run(settings)
        except OSError as error:
            raise Unavailable(f"The sandbox cannot listen on port {port}: {error}") from error
