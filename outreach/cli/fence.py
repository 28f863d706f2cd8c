"""`outreach fence`, `outreach reconcile`: what to do about a database that may have forgotten."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from outreach.cli.shell import JsonFlag, Table, actor, cell, emit, run
from outreach.db import Database
from outreach.services import fence
from outreach.services.doubt import doubt_due
from outreach.services.fence import Status, shown
from outreach.services.regain import EXAMPLES_MAX, Gap, reconcile

app = typer.Typer(no_args_is_help=True)
reconcile_app = typer.Typer()

WHY = {
    "system_changed": "It is in another cluster than the one that sent: a dump or a copy.",
    "database_changed": "It is another database of the cluster: a restored dump, or a copy.",
    "timeline_went_back": "It is older than the one that sent.",
    "timeline_changed": "It was promoted or recovered to a point in time, and nobody proves that"
    " nothing was lost.",
    "sends_missing": "A worker remembers what the database does not know.",
    "event_of_unknown_message": "The provider tells of mail that the database does not know.",
}
STATES = {
    "open": "Nothing is held: this is the database that was looked at last.",
    "held": "ALL SENDING IS HELD: this database may have forgotten mail that went out.",
    "unproven": "The server runs anew, and no worker has looked yet; nothing is sent before.",
}


@app.command("status", help="Whether sending is held because data may be lost, and why.")
def status_command(as_json: JsonFlag = False) -> None:
    """What was approved, and what is there."""
    status = run(fence.status)
    emit(as_json, _status(status), lambda: _told(status))


@app.command("approve", help="End the hold: from now on this database is the one that counts.")
def approve_command(
    reason: Annotated[str, typer.Option("--reason", help="What was looked at; it is kept.")],
    as_json: JsonFlag = False,
) -> None:
    """After `outreach reconcile`, and after webhooks have had time to come in."""
    status = run(lambda db: fence.approve(db, reason=reason, actor=actor()))
    emit(as_json, _status(status), "Sending goes on from what this database knows.")


@app.command("expect-failover", help="Believe a promotion soon, unless a worker misses something.")
def expect_failover_command(
    minutes: Annotated[float, typer.Option(min=1, max=1440, help="For so long.")] = 15,
    as_json: JsonFlag = False,
) -> None:
    """For a failover with no worker alive to see it."""
    until = run(lambda db: fence.expect_failover(db, seconds=minutes * 60, actor=actor()))
    emit(as_json, {"until": until}, f"A promotion before {cell(until)} is believed.")


@reconcile_app.command("reconcile", help="Put back mail that events prove and the database lacks.")
def reconcile_command(
    doubt: Annotated[
        bool,
        typer.Option(
            "--doubt-due",
            help="And what is due now, and no event proves, counts as unknown: not sent again.",
        ),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Changes nothing that is known; may be run again as more events come in."""

    async def work(db: Database) -> tuple[Gap, int]:
        gap = await reconcile(db, actor=actor())
        return gap, await doubt_due(db, actor=actor()) if doubt else 0

    gap, doubted = run(work)
    data = {
        "messages": gap.messages,
        "events": gap.events,
        "lost_from": gap.lost and gap.lost.lost_from,
        "lost_until": gap.lost and gap.lost.lost_until,
        "first_at": gap.first_at,
        "last_at": gap.last_at,
        "unproven": gap.unproven,
        "doubted": doubted,
    }
    emit(as_json, data, lambda: _found(gap, doubted))


def _status(status: Status) -> dict[str, Any]:
    fence_now = status.fence
    return {
        "state": status.state,
        "reason": fence_now.reason,
        "held_at": fence_now.held_at,
        "detail": fence_now.detail,
        "approved_at": fence_now.approved_at,
        "approved": None if fence_now.approved is None else shown(fence_now.approved),
        "present": shown(status.present),
    }


def _told(status: Status) -> str:
    lines = [STATES[status.state]]
    reason = status.fence.reason
    if reason is not None:
        lines += [WHY.get(reason, reason), f"Since {cell(status.fence.held_at)}."]
        lines += [f"Missing: {one}." for one in status.fence.detail.get("missing", [])]
        lines.append("What to do: docs/data-loss.md.")
    return "\n".join(lines)


def _found(gap: Gap, doubted: int) -> Table:
    unproven = f"{len(gap.unproven)}{' or more' if len(gap.unproven) >= EXAMPLES_MAX else ''}"
    rows: list[tuple[str, object]] = [
        ("the time that is lost, from", gap.lost and gap.lost.lost_from),
        ("to", gap.lost and gap.lost.lost_until),
        ("mails put back", gap.messages),
        ("events of mails unknown here", gap.events),
        ("the earliest of them", gap.first_at),
        ("the latest of them", gap.last_at),
        ("steps that count as unknown", doubted),
        ("mails that no step here explains", unproven),
        *(("", message_id) for message_id in gap.unproven),
    ]
    return Table(("", "found"), rows)
