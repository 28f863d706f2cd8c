"""How an installation is: facts from the database, and what a person should make of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from time import monotonic

from outreach.db import Database, Role
from outreach.services.sweep import SILENT_SECONDS
from outreach.store import doctor as store
from outreach.store.doctor import Alarm, Brakes, Queue, Server, Worker
from outreach.store.retention import COUNTED_MAX, Standing, read_standing

SKEW_SECONDS_MAX = 5.0  # beyond it a worker refuses to start
UNKNOWN = "outcome_unknown"
LATE_SECONDS = 60.0  # the sweep wakes within a second, so a job this old has nobody to run it


class Verdict(StrEnum):
    """What a check comes to: `warn` works, but not as somebody might expect."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One question with its answer as a sentence."""

    name: str
    verdict: Verdict
    sentence: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the database says of itself and of the installation."""

    server: Server
    skew_seconds: float
    answer_ms: float
    brakes: Brakes
    queues: list[Queue]
    workers: list[Worker]
    alarms: list[Alarm]
    months: Standing


async def examine(db: Database) -> Facts:
    """Ask for everything in one transaction; the schema is current."""
    async with db.transaction(Role.WORKER) as tx:
        started, before = monotonic(), datetime.now(UTC)
        server = await store.read_server(tx)
        after, answer_seconds = datetime.now(UTC), monotonic() - started
        return Facts(
            server=server,
            skew_seconds=_skew_seconds(server.at, before, after),
            answer_ms=round(answer_seconds * 1000, 2),
            brakes=await store.read_brakes(tx),
            queues=await store.list_queues(tx),
            workers=await store.list_workers(tx),
            alarms=await store.list_alarms(tx),
            months=await read_standing(tx),
        )


def judge(facts: Facts) -> Iterator[Check]:
    """What the facts mean, one check each."""
    yield _clock(facts.skew_seconds)
    yield _queue(facts.queues, facts.workers)
    yield _installation(facts.brakes)
    yield _fence(facts.brakes)
    yield _account(facts.brakes)
    yield _alarms(facts.alarms)
    yield _months(facts.months)


def _skew_seconds(theirs: datetime, before: datetime, after: datetime) -> float:
    """By how much the clocks differ at least; the question took from `before` to `after`."""
    skew = max(before - theirs, theirs - after, timedelta(0))
    return round(skew.total_seconds(), 3)


def _clock(skew_seconds: float) -> Check:
    if skew_seconds > SKEW_SECONDS_MAX:
        sentence = f"The clocks differ by {skew_seconds:.1f} s: no worker starts. Use NTP."
        return Check("clock", Verdict.FAIL, sentence)
    return Check("clock", Verdict.OK, "This machine and the database agree on the time.")


def _queue(queues: list[Queue], workers: list[Worker]) -> Check:
    alive = sum(worker.silent_seconds <= SILENT_SECONDS for worker in workers)
    todo = sum(queue.todo for queue in queues)
    late = [q.queue for q in queues if q.todo and (q.oldest_seconds or 0.0) > LATE_SECONDS]
    jobs = f"{todo} jobs wait, {sum(queue.doing for queue in queues)} run"
    if not alive:
        sentence = f"No worker is running, so nothing is sent or applied; {jobs}."
        return Check("queue", Verdict.WARN, f"{sentence} Start one: `outreach worker`.")
    if late:
        seconds = max(queue.oldest_seconds or 0.0 for queue in queues if queue.queue in late)
        sentence = f"{alive} workers, but a job has waited for {seconds:.0f} s; {jobs}."
        whose = f"Does a worker serve {', '.join(late)}? `outreach worker --queues …`."
        return Check("queue", Verdict.WARN, f"{sentence} {whose}")
    return Check("queue", Verdict.OK, f"Workers running: {alive}; {jobs}.")


def _installation(brakes: Brakes) -> Check:
    if brakes.state == "paused":
        sentence = f"The whole installation is paused: {brakes.pause_reason}."
        return Check("installation", Verdict.WARN, f"{sentence} End it: `outreach resume`.")
    return Check("installation", Verdict.OK, "The installation is active.")


def _alarms(alarms: list[Alarm]) -> Check:
    """Unknown outcomes settle by themselves, within a day or so: they are told and no alarm."""
    unknown = sum(alarm.many for alarm in alarms if alarm.code == UNKNOWN)
    waiting = f" Mails of unknown outcome: {unknown}; `outreach messages list`." * bool(unknown)
    raised = [f"{alarm.many} {alarm.code}" for alarm in alarms if alarm.code != UNKNOWN]
    if raised:
        sentence = f"Alarms that nobody has closed: {', '.join(raised)}; `outreach incidents list`."
        return Check("alarms", Verdict.WARN, sentence + waiting)
    return Check("alarms", Verdict.OK, f"No alarm is open.{waiting}")


def _fence(brakes: Brakes) -> Check:
    if brakes.data_loss_reason is not None:
        sentence = "All sending is held: the database may have forgotten mail that went out."
        return Check("data loss", Verdict.FAIL, f"{sentence} See `outreach fence status`.")
    return Check("data loss", Verdict.OK, "No loss of data is known.")


def _account(brakes: Brakes) -> Check:
    if brakes.provider_paused_at is not None:
        since = f"{brakes.provider_paused_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        sentence = (
            f"The provider refuses the account since {since}: {brakes.provider_pause_reason}."
        )
        remedy = "Nothing is sent. Once that is mended: `outreach resume`."
        return Check("account", Verdict.FAIL, f"{sentence} {remedy}")
    until = brakes.provider_later_until
    if until is not None and until > datetime.now(UTC):
        does = "does not answer" if brakes.provider_failures else "asked for patience"
        sentence = (
            f"The provider {does}; the next mail tries at {until.astimezone(UTC):%H:%M:%S} UTC."
        )
        return Check("account", Verdict.WARN, sentence)
    return Check("account", Verdict.OK, "The provider has no complaint about the account.")


def _months(months: Standing) -> Check:
    """Events outside their month are found all the same, and keep that month from being made."""
    if months.out_of_place:
        many = f"{months.out_of_place}{' or more' * (months.out_of_place >= COUNTED_MAX)}"
        sentence = f"Events that lie outside their month (by `event_at`): {many}."
        remedy = "A worker moves them each minute; see docs/retention.md if they stay."
        return Check("events", Verdict.WARN, f"{sentence} {remedy}")
    if not months.is_next_made:
        sentence = "Next month's events have no partition yet: a worker makes it each minute."
        return Check("events", Verdict.WARN, sentence)
    return Check("events", Verdict.OK, "Every event lies in its month, and the next is made.")
