"""`outreach webhooks`: apply what was received once more."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from outreach.cli.shell import JsonFlag, emit, run
from outreach.core.errors import Invalid
from outreach.db import Database
from outreach.services.replay import replay

app = typer.Typer(no_args_is_help=True, help="Webhooks: apply stored bodies again.")

FIRST = datetime(1, 1, 1, tzinfo=UTC)
LAST = datetime(9999, 12, 31, tzinfo=UTC)


@app.callback()
def webhooks() -> None:
    """Keep `replay` a command of its own beside those that will join it."""


@app.command("replay")
def replay_command(
    since: Annotated[
        str | None, typer.Option(help="Received at or after, e.g. 2026-03-01T00:00:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Received before.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Apply stored bodies again, oldest first; what is right stays as it is."""

    async def work(db: Database) -> int:
        begin = FIRST if since is None else moment(since, "--since")
        return await replay(db, begin, LAST if until is None else moment(until, "--until"))

    count = run(work)
    emit(as_json, {"replayed": count}, f"{count} deliveries were applied again.")


def moment(text: str, option: str) -> datetime:
    """An ISO 8601 time, in UTC where it names no zone; raises Invalid."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid.at(option, f"{text!r} is not a time such as 2026-03-01T00:00:00Z.") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
