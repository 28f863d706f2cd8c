"""`outreach plans`: what is wrong with a plan and how it would go, before anybody is written to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from outreach.cli.campaigns import read_plan
from outreach.cli.shell import WRONG_USAGE, JsonFlag, Table, emit, failures_as_exits
from outreach.cli.simulate import simulate_command
from outreach.core.plan import validate_plan

app = typer.Typer(no_args_is_help=True, help="Plans: check one before it runs.")
app.command("simulate")(simulate_command)


@app.command("validate")
def validate_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The plan, JSON; - is stdin.")],
    as_json: JsonFlag = False,
) -> None:
    """List every problem of a plan, each with its place; exit 2 when there is one."""
    with failures_as_exits():
        problems = validate_plan(read_plan(file))
    data = {
        "valid": not problems,
        "problems": [{"path": problem.path, "message": problem.message} for problem in problems],
    }
    rows = [(problem.path, problem.message) for problem in problems]
    emit(as_json, data, Table(("where", "problem"), rows) if rows else "The plan can run.")
    if problems:
        raise typer.Exit(WRONG_USAGE)
