"""`outreach pause` and `outreach resume`: the kill switch of the whole installation."""

from __future__ import annotations

from typing import Annotated

import typer

from outreach.cli.shell import JsonFlag, actor, emit, run
from outreach.services import control

pause_app = typer.Typer()
resume_app = typer.Typer()


@pause_app.command("pause", help="Stop everybody's sending until `outreach resume`.")
def pause_command(
    reason: Annotated[str, typer.Option("--reason", help="Why; everybody sees it.")],
    as_json: JsonFlag = False,
) -> None:
    """When it returns, nothing more is handed to the provider."""
    state = run(lambda db: control.pause_installation(db, reason=reason, actor=actor()))
    emit(as_json, {"state": state}, "Sending is paused for the whole installation.")


@resume_app.command("resume", help="End the pause of the whole installation.")
def resume_command(
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for the record.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Also after the provider refused the account; tenants and campaigns keep their own pauses."""
    state = run(lambda db: control.resume_installation(db, reason=reason, actor=actor()))
    emit(as_json, {"state": state}, "Sending goes on.")
