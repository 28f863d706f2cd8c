"""`outreach migrate`: the schema to the head, to a version, back, or only looked at."""

from __future__ import annotations

from typing import Annotated

import typer

from outreach import config
from outreach.cli.shell import SCHEMA_BEHIND, JsonFlag, emit, fail, failures_as_exits
from outreach.core.errors import Invalid
from outreach.migrate import migrate, rollback, status

app = typer.Typer()


@app.command("migrate", help="Apply what the database lacks; go back, or only look.")
def migrate_command(
    to: Annotated[str | None, typer.Option("--to", help="Up to and with this migration.")] = None,
    back_to: Annotated[
        str | None,
        typer.Option("--rollback", help="Take back all after this one; `0` takes back all."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; 4 when behind.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Work on DATABASE_DIRECT_URL (or DATABASE_URL); several at once are safe."""
    if sum((to is not None, back_to is not None, check)) > 1:
        raise typer.BadParameter("Give one of --to, --rollback and --check.")
    with failures_as_exits():
        dsn = config.load().direct_dsn
        if dsn is None:
            raise Invalid.at("DATABASE_URL", "is not set; there is no database to migrate.")
        if check:
            _check(dsn, as_json)
        elif back_to is not None:
            done = rollback(dsn, to=None if back_to == "0" else back_to)
            data = {"rolled_back": done, "applied": [], "head": _head(dsn)}
            emit(as_json, data, _sentence("Took back", done))
        else:
            done = migrate(dsn, to=to)
            emit(as_json, {"applied": done, "head": _head(dsn)}, _sentence("Applied", done))


def _check(dsn: str, as_json: bool) -> None:
    schema = status(dsn)
    data = {
        "applied": schema.applied,
        "head": schema.head,
        "pending": schema.pending,
        "edited": schema.edited,
        "is_current": schema.is_current,
    }
    if schema.is_current:
        emit(as_json, data, f"The schema is current: {schema.head}.")
        return
    emit(as_json, data, "")
    fail(schema.problem, SCHEMA_BEHIND)


def _head(dsn: str) -> str | None:
    """The newest migration that the database has."""
    applied = status(dsn).applied
    return applied[-1] if applied else None


def _sentence(verb: str, migrations: list[str]) -> str:
    return f"{verb} {', '.join(migrations)}." if migrations else "Nothing to do."
