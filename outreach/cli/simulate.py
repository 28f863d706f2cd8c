"""`outreach plans simulate`: how a plan would go, told before anybody is written to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from outreach.cli.campaigns import read_plan
from outreach.cli.shell import JsonFlag, emit, failures_as_exits, run, tenant_id_of
from outreach.core.errors import Invalid
from outreach.core.simulate_habits import SHARES
from outreach.core.states import EnrollmentState
from outreach.db import Database
from outreach.services.simulate import Ground, Past, Simulated, Wish, try_out
from outreach.services.simulate_ground import ground_of

ENDS = (EnrollmentState.COMPLETED, EnrollmentState.STOPPED, EnrollmentState.FAILED)
DAY_ROWS_MAX = 40  # of a table for people; more are summed up
BAR_WIDTH = 30

LIMITS = {
    "limit_minute": "what its sender may send in a minute",
    "limit_hour": "what its sender may send in an hour",
    "limit_day": "what its sender may send in a day",
    "limit_warmup": "the warm-up of its sender",
    "limit_tenant": "what the tenant may send in an hour",
    "limit_domain": "what may go to one recipient domain in an hour",
    "limit_installation": "what the whole installation may send in an hour",
    "reputation_slowed": "its sender's reputation, which halves its limits",
}
WORDS = {
    "suppressed_bounce": "the address does not exist",
    "suppressed_unsubscribe": "unsubscribed",
    "suppressed_complaint": "reported it as spam",
    "completed": "the plan ran to its end",
    "idle": "nothing happened any more",
}


def simulate_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The plan, JSON; - is stdin.")],
    more: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    contacts: Annotated[int, typer.Option("--contacts", help="How many come into it.")] = 1_000,
    assume: Annotated[
        list[str] | None,
        typer.Option(
            "--assume", metavar="opened=0.4 …", help=f"Shares from 0 to 1: {', '.join(SHARES)}."
        ),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", metavar="T", help="The launch, RFC 3339; now.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Another seed is other people.")] = 1,
    tenant: Annotated[
        str | None,
        typer.Option("--tenant", help="A tenant's slug: its limits, contacts and past readers."),
    ] = None,
    sender: Annotated[
        str | None, typer.Option("--sender", help="The tenant's sender; its first by address.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Try a plan out on made-up readers: mails by day, its end, what limits it, how they end."""
    with failures_as_exits():
        words = [*(assume or []), *(more or [])]
        start_at = _moment(start)
        wish = Wish(read_plan(file), start_at, contacts, words, seed)
        if tenant is None and sender is not None:
            raise Invalid.at("--sender", "A sender is a tenant's: give --tenant too.")
        done = try_out(wish, None if tenant is None else _ground(tenant, sender))
    emit(as_json, _data(done, start_at, contacts, seed), lambda: "\n".join(_told(done, contacts)))


def _ground(tenant: str, sender: str | None) -> Ground:
    async def work(db: Database) -> Ground:
        return await ground_of(db, await tenant_id_of(db, tenant), sender)

    return run(work)


def _moment(text: str | None) -> datetime:
    """The launch; a time without an offset is UTC."""
    if text is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid.at(
            "--start", f"{text[:40]!r} is not a time such as 2026-05-04T09:00:00Z."
        ) from None


def _data(done: Simulated, start_at: datetime, contacts: int, seed: int) -> dict[str, Any]:
    outcome = done.outcome
    ends = {state.value: _ended(done, state) for state in ENDS}
    return {
        "messages_by_day": {f"{day}": count for day, count in outcome.messages_by_day.items()},
        "finished_at": outcome.finished_at,
        "binding_limit": outcome.binding_limit,
        "ends": {"active": outcome.unfinished, **ends},
        "end_reasons": {
            state.value: {why: n for (of, why), n in outcome.ends.items() if of is state}
            for state in ENDS
        },
        "messages_by_node": outcome.messages_by_node,
        "last_message_at": outcome.last_message_at,
        "assumptions": done.assumptions,
        "history": done.past,
        "contacts": contacts,
        "start_at": start_at,
        "seed": seed,
    }


def _ended(done: Simulated, state: EnrollmentState) -> int:
    return sum(count for (of, _), count in done.outcome.ends.items() if of is state)


def _told(done: Simulated, contacts: int) -> Iterator[str]:
    """The answer for people."""
    outcome, zone = done.outcome, done.plan.zone
    total = sum(outcome.messages_by_day.values())
    yield f"{contacts:,} contacts, {total:,} mails."
    yield ""
    yield from _days(done)
    yield f"By step: {_counts(outcome.messages_by_node)}."
    if outcome.last_message_at is not None:
        yield f"Last mail: {outcome.last_message_at.astimezone(zone):%a %d %b %Y %H:%M} ({zone})."
    if outcome.finished_at is None:
        day = f"{outcome.stopped_at.astimezone(zone):%a %d %b %Y}"
        yield f"Not finished by {day}: {outcome.unfinished:,} contacts are still under way."
    else:
        yield f"Finished: {outcome.finished_at.astimezone(zone):%a %d %b %Y %H:%M} ({zone})."
    limit = outcome.binding_limit
    yield f"What limits it: {'nothing' if limit is None else LIMITS.get(limit, limit)}."
    yield ""
    yield "How contacts end:"
    for (state, why), count in outcome.ends.items():
        words = WORDS.get(why, why.replace("_", " "))
        yield f"  {count:>8,}  {count / contacts:>4.0%}  {state.value}: {words}"
    yield ""
    shares = ", ".join(f"{name}={share:.3g}" for name, share in done.assumptions.items())
    yield f"Assumed: {shares}."
    if done.past is not None:
        yield _source(done.past)


def _source(past: Past) -> str:
    mails = f"{past.mails:,} mails of the last {past.days} days"
    if past.is_used:
        return f"What was not given was counted from the tenant's own {mails}."
    return f"The tenant's own {mails} are too few to tell; what was not given is a guess."


def _days(done: Simulated) -> Iterator[str]:
    days = list(done.outcome.messages_by_day.items())
    if not days:
        return
    most = max(count for _, count in days)
    for day, count in days[:DAY_ROWS_MAX]:
        bar = "#" * max(round(count / most * BAR_WIDTH), 1)
        yield f"  {day:%a %d %b}  {count:>7,}  {bar}"
    rest = days[DAY_ROWS_MAX:]
    if rest:
        yield f"  {len(rest)} more days  {sum(count for _, count in rest):,}"
    yield ""


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
