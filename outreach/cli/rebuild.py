"""`outreach rebuild --check`: state derived again from what is recorded, and where it differs."""

from __future__ import annotations

from typing import Annotated

import typer

from outreach.cli.shell import FAILED, JsonFlag, Table, emit, note, run, tenant_id_of
from outreach.core.errors import Invalid
from outreach.core.rebuilt import Difference
from outreach.db import Database
from outreach.services import rebuild, tenants

app = typer.Typer()

TENANTS_PAGE = 200
Found = tuple[str, Difference]  # whose it is


@app.command("rebuild")
def rebuild_command(
    check: Annotated[
        bool, typer.Option("--check", help="Compare and change nothing: all it can do.")
    ] = False,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only this tenant's.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=100_000, help="Stop at so many differences.")
    ] = 1_000,
    as_json: JsonFlag = False,
) -> None:
    """Derive state again from steps, attempts and events; exit 1 where it is not what is stored."""

    async def work(db: Database) -> tuple[int, list[Found]]:
        if not check:
            raise Invalid.at("--check", "is needed: nothing is rebuilt in place, only compared.")
        if tenant is not None:
            return await _compare(db, [tenant], limit)
        return await _compare_all(db, limit)

    compared, found = run(work)
    if len(found) >= limit:
        note(f"There may be more: it stopped at {limit} differences.")
    different = [
        {
            "tenant": slug,
            "kind": one.kind,
            "id": one.id,
            "field": one.field,
            "stored": one.stored,
            "derived": one.derived,
        }
        for slug, one in found
    ]
    columns = ("tenant", "kind", "id", "field", "stored", "derived")
    rows = [tuple(one.values()) for one in different]
    told = Table(columns, rows) if rows else f"{compared} compared, and nothing differs."
    emit(as_json, {"compared": compared, "different": different}, told)
    if found:
        raise typer.Exit(FAILED)


async def _compare_all(db: Database, limit: int) -> tuple[int, list[Found]]:
    compared, found, after = 0, list[Found](), ""
    while page := await tenants.list_page(db, after=after, rows_max=TENANTS_PAGE):
        after = page[-1].slug
        some, more = await _compare(db, [one.slug for one in page], limit - len(found))
        compared += some
        found += more
        if len(found) >= limit:
            break
    return compared, found


async def _compare(db: Database, slugs: list[str], limit: int) -> tuple[int, list[Found]]:
    compared, found = 0, list[Found]()
    for slug in slugs:
        async for page in rebuild.check(db, await tenant_id_of(db, slug)):
            compared += page.compared
            found += [(slug, one) for one in page.differences]
            if len(found) >= limit:
                return compared, found[:limit]
    return compared, found
