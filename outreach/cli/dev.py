"""`outreach dev`: everything running, on data that stays, until Ctrl-C."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from outreach import config
from outreach.cli import local
from outreach.cli.ground import HOME, ground
from outreach.cli.shell import failures_as_exits

app = typer.Typer()

LOOK_SECONDS = 0.5


@app.command("dev", help="Run database, stand-in SendGrid, web and worker, until Ctrl-C.")
def dev_command(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Of the web; 0: a free one.")] = 8000,
    sandbox_port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Of the stand-in SendGrid; 0: a free one.")
    ] = 8025,
    seed: Annotated[int, typer.Option(help="Decides what becomes of each mail.")] = 1,
) -> None:
    """Everything on this machine. The database is kept from one time to the next."""
    with failures_as_exits(), ground() as settings, _ended_by_signals() as stop:
        assert settings.dsn is not None
        where = "DATABASE_URL" if config.load().dsn is not None else f"{HOME}/postgres"
        typer.echo(f"Database: the one of {where}.")
        order = local.Order(
            settings.dsn,
            _secret_key(HOME / "dev"),
            HOME / "dev",
            seed=seed,
            web_port=port,
            sandbox_port=sandbox_port,
        )
        with local.running(order, _tell) as here:
            typer.echo(_guide(here))
            while not stop:
                here.crew.check()
                time.sleep(LOOK_SECONDS)
            typer.echo("Ending.")


def _tell(sentence: str, command: Sequence[str]) -> None:
    typer.echo(sentence)


def _guide(here: local.Local) -> str:
    """How to talk to what runs, from another terminal."""
    exports = {name: here.environment[name] for name in ("SENDGRID_API_KEY", "SENDGRID_BASE_URL")}
    return "\n".join(
        [
            "",
            f"Logs: {HOME}/dev/*.log. In another terminal, in this folder:",
            "",
            *(f"  export {name}={value}" for name, value in exports.items()),
            "  .venv/bin/outreach tenants create --slug acme --name Acme"
            " --postal-address '1 Main St, Springfield'",
            "  .venv/bin/outreach doctor",
            f"  curl {here.web_url}/readyz",
            f"  curl {here.sandbox_url}/sandbox",
            "",
            "Ctrl-C ends it all.",
        ]
    )


@contextmanager
def _ended_by_signals() -> Iterator[list[int]]:
    """A list that is empty until SIGTERM or Ctrl-C."""
    got: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if got:
            raise KeyboardInterrupt
        got.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield got
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _secret_key(folder: Path) -> str:
    """The same at each start, so that links in yesterday's mails still work."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "secret_key"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(32), "ascii")
    return path.read_text("ascii")
