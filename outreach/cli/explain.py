"""`outreach explain`: one contact's whole story, oldest first, with every reason."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Annotated

import typer

from outreach.cli.shell import JsonFlag, TenantOption, emit, printable, run, tenant_id_of
from outreach.db import Database
from outreach.services.explain import Entry, Story, explain

app = typer.Typer()


@app.command("explain")
def explain_command(
    tenant: TenantOption,
    contact: Annotated[str, typer.Option("--contact", help="The contact's address.")],
    campaign: Annotated[
        str | None, typer.Option("--campaign", help="Of this campaign only: its name or id.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell one contact's whole story, with every reason, and what comes next."""

    async def work(db: Database) -> Story:
        return await explain(db, await tenant_id_of(db, tenant), contact, campaign=campaign)

    story = run(work)
    data = {
        "data": [
            {
                "at": entry.at,
                "kind": entry.kind,
                "code": entry.code,
                "summary": entry.summary,
                "detail": entry.detail,
            }
            for entry in story.entries
        ]
    }
    emit(as_json, data, lambda: told(story))


def told(story: Story) -> str:
    """The story as people read it: a heading, then a line a fact under each day (UTC)."""
    who = f"{story.name} <{story.address}>" if story.name else story.address
    return "\n".join([printable(f"{who}, in UTC"), *_days(sorted(story.entries, key=_told_at))])


def _told_at(entry: Entry) -> datetime:
    """Providers tell whole seconds: what they tell of follows what we did in the same second."""
    return entry.at if entry.at.microsecond else entry.at + timedelta(microseconds=999_999)


def _days(entries: list[Entry]) -> Iterator[str]:
    for day, those in groupby(entries, key=lambda entry: entry.at.astimezone(UTC).date()):
        yield ""
        yield f"{day:%A} {day.day} {day:%B %Y}"
        for entry in those:
            until = entry.detail.get("until")
            later = f" Next look {until[:16].replace('T', ' ')}." if until else ""
            moment = entry.at.astimezone(UTC)
            yield printable(f"  {moment:%H:%M:%S}  {entry.summary}{later}")
