"""Months of events and bodies of webhooks that have had their time."""

from __future__ import annotations

from dataclasses import dataclass

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)

PLACED_MAX = 10_000  # moved within one lock, well under a second
COUNTED_MAX = 1_000
DELIVERIES_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Standing:
    """Where events lie."""

    out_of_place: int  # rows in the default partition, `COUNTED_MAX` at most
    is_next_made: bool  # next month has its partition


async def place_default_events(tx: Tx, *, months_ahead: int) -> int:
    """Bring one month out of the default partition; how many rows."""
    query = SQL["place_default_events"]
    return int(await sql.value(tx, query, rows_max=PLACED_MAX, months_ahead=months_ahead))


async def retire_event_month(tx: Tx, *, keep_months: int, is_dropped: bool) -> str | None:
    """Take out the oldest month that is over for so long; its name, None where there is none."""
    query = SQL["retire_event_month"]
    name: str | None = await sql.value(tx, query, keep_months=keep_months, is_dropped=is_dropped)
    return name


async def read_standing(tx: Tx) -> Standing:
    """Whether every event lies in its month, and the next one has its place."""
    found = await sql.find(tx, SQL["read_standing"], Standing, rows_max=COUNTED_MAX)
    assert found is not None
    return found


async def delete_deliveries(tx: Tx, *, applied_days: int, quarantined_days: int) -> int:
    """Delete bodies that were applied, or quarantined, so many days ago; how many, bounded."""
    return await sql.execute(
        tx,
        SQL["delete_deliveries"],
        applied_days=applied_days,
        quarantined_days=quarantined_days,
        rows_max=DELIVERIES_MAX,
    )
