"""`outreach demo`: the whole main job, on real parts, in under two minutes.

A database of its own on the embedded server, begun anew; web, stand-in SendGrid and worker in
processes of their own; then the commands that a user would type, run as they are printed. It ends
by itself when every contact has come to an end, and its report compares our books with the
stand-in's. Whatever is exported for another installation plays no part.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import os
import secrets
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from time import monotonic
from types import FrameType
from typing import Annotated, Any
from uuid import UUID

import orjson
import typer
from rich.console import Console

from outreach.cli import local
from outreach.cli.demo_report import Books, read_books, settle
from outreach.cli.demo_screen import Screen
from outreach.cli.ground import HOME, embedded_database
from outreach.cli.shell import FAILED, INTERRUPTED, JsonFlag, emit, failures_as_exits
from outreach.core.errors import Refused
from outreach.core.states import EnrollmentState, MessageState
from outreach.db import Database
from outreach.dev import demo_data
from outreach.dev.processes import Crew
from outreach.services.reconcile import progress
from outreach.store.reconcile import End

app = typer.Typer()

FOLDER = HOME / "demo"
DATABASE = "demo"
TENANT = "demo"
CAMPAIGN = "spring"
SENDER = "sam@northwind.example"
SEED = 7
PACE = 0.5  # people act in half the time
RUN_SECONDS_MAX = 90.0
LOOK_SECONDS = 0.25
PER_MINUTE = 6_000
PER_HOUR = 20_000
PER_DAY = 100_000


@dataclass(frozen=True, slots=True)
class Ids:
    """What the commands made."""

    tenant: UUID
    campaign: UUID


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds: until the launch, from it to the last end, and altogether."""

    to_launch: float
    running: float
    total: float


@app.command("demo", help="Run the whole main job on real parts, in under two minutes.")
def demo_command(
    seed: Annotated[int, typer.Option(help="Another seed is another story.")] = SEED,
    as_json: JsonFlag = False,
) -> None:
    """Import, plan, launch, send, react, account for everybody; exit 1 if anything is amiss."""
    signal.signal(signal.SIGTERM, _end)
    with failures_as_exits(), _alone():
        screen = Screen(Console(stderr=as_json))
        report = _play(screen, seed)
    if as_json:
        emit(True, report, "")
    if not report["ok"]:
        raise typer.Exit(FAILED)


def _play(screen: Screen, seed: int) -> dict[str, Any]:
    began_at = monotonic()
    screen.title("Outreach: the whole main job, on real parts. No mail leaves this machine.")
    screen.say()
    with embedded_database(DATABASE, is_new=True) as conninfo:
        screen.step(f"PostgreSQL runs in {HOME}/postgres; the database `demo` is new.", ["migrate"])
        order = local.Order(conninfo, secrets.token_urlsafe(32), FOLDER, seed=seed, pace=PACE)
        with local.running(order, screen.step) as here, _environment(here.environment):
            ids = _prepare(screen)
            launched_at = monotonic()
            screen.say()
            books = asyncio.run(_run(screen, here, conninfo, ids))
            ended_at = monotonic()
            times = Times(launched_at - began_at, ended_at - launched_at, ended_at - began_at)
            return _close(screen, books, times)


def _prepare(screen: Screen) -> Ids:
    """Everything up to the launch, each by the command that it prints."""
    tenant = _do("tenants create --slug", TENANT, "--name", "Northwind Tools", "--postal-address",
                 "1 Main St, Springfield")  # fmt: skip
    screen.step("A tenant; its postal address stands under every mail.", tenant.command)
    added = _do("senders add --tenant", TENANT, "--email", SENDER, "--name", "Sam Rivera")
    screen.step("A sender identity.", added.command)
    verified = _do("senders verify --tenant", TENANT, "--email", SENDER)
    screen.step(f"The provider vouches for it: {verified.data['state']}.", verified.command)
    _import(screen)
    campaign = _campaign(screen)
    limits = _do("limits set --tenant", TENANT, "--scope", "sender", "--per-minute",
                 f"{PER_MINUTE}", "--per-hour", f"{PER_HOUR}", "--per-day", f"{PER_DAY}",
                 "--warm-up", f"{PER_DAY}")  # fmt: skip
    screen.step(
        "A new sender may send 20 mails a minute and 200 on its first day; for the demo both are"
        " raised, openly.",
        limits.command,
    )
    launch = _do("campaigns launch", CAMPAIGN, "--tenant", TENANT)
    screen.step("Launched: the first mails are due now.", launch.command)
    return Ids(UUID(tenant.data["id"]), campaign)


def _import(screen: Screen) -> None:
    contacts, rejected = FOLDER / "contacts.csv", FOLDER / "rejected.csv"
    demo_data.write_contacts(contacts)
    done = _do("contacts import", f"{contacts}", "--tenant", TENANT, "--errors", f"{rejected}")
    data = done.data
    screen.step(
        f"{data['rows']:,} rows from a CSV file: {data['created']:,} contacts,"
        f" {data['duplicates']} there twice, {data['rejected']} rejected, each with its reason.",
        done.command,
    )


def _campaign(screen: Screen) -> UUID:
    plan = FOLDER / "plan.json"
    demo_data.write_plan(plan)
    valid = _do("plans validate", f"{plan}")
    screen.step("A plan: an intro, a wait for a click, thanks or a second try.", valid.command)
    made = _do("campaigns create --tenant", TENANT, "--name", CAMPAIGN, "--plan", f"{plan}",
               "--sender", SENDER)  # fmt: skip
    screen.step(f"A campaign with version {made.data['plan_version']} of it.", made.command)
    enrolled = _do("campaigns enroll", CAMPAIGN, "--tenant", TENANT, "--all")
    screen.step(f"{enrolled.data['enrolled']:,} contacts come into it.", enrolled.command)
    return UUID(made.data["id"])


async def _run(screen: Screen, here: local.Local, conninfo: str, ids: Ids) -> Books:
    """Watch until everybody has come to an end, or for too long; then read the books."""
    nodes = demo_data.NODES
    async with Database.at(conninfo, size_max=2, application="outreach-demo") as db:
        with screen.watching(nodes):
            await _watch(screen, here.crew, db, ids)
            await settle(db, here.sandbox_url)
        return await read_books(db, ids.tenant, ids.campaign, here.sandbox_url, first_node=nodes[0])


async def _watch(screen: Screen, crew: Crew, db: Database, ids: Ids) -> None:
    began_at = monotonic()
    while True:
        crew.check()
        found = await progress(db, ids.tenant, ids.campaign)
        seconds = monotonic() - began_at
        is_last = found.ended == found.total or seconds > RUN_SECONDS_MAX
        screen.figures(found, seconds, is_last=is_last)
        if is_last:
            return
        await asyncio.sleep(LOOK_SECONDS)


def _close(screen: Screen, books: Books, times: Times) -> dict[str, Any]:
    """Show the report; the same as an object."""
    checks = books.checks()
    wave = books.account.first_wave
    rate = round(wave.count / wave.seconds) if wave.seconds else 0
    screen.say()
    screen.title("The report")
    for check in checks:
        screen.check(check)
    screen.say(
        f"    The first {wave.count:,} mails went out in {wave.seconds:.1f} s: {rate:,} a second,"
        f" each with its row in the ledger first."
    )
    ends = ", ".join(f"{end.count:,} {_why(end)}" for end in books.account.ends)
    screen.say(f"    How they ended: {ends}.")
    screen.say(f"    {times.to_launch:.0f} s to the launch, {times.running:.0f} s to the last end.")
    story = _story(screen, books.account.eventful_contact)
    _next_steps(screen, books.account.eventful_contact)
    return {
        "ok": all(check.is_ok for check in checks),
        "checks": [{"name": c.name, "ok": c.is_ok, "sentence": c.sentence} for c in checks],
        "enrollments": {
            "total": books.progress.total,
            **{state.value: books.progress.enrollments[state] for state in EnrollmentState},
        },
        "ends": [asdict(end) for end in books.account.ends],
        "messages": {state.value: books.progress.messages[state] for state in MessageState},
        "messages_by_node": books.account.sent_by_node,
        "accepted": books.theirs.summary["accepted"],
        "accepted_again": books.theirs.summary["accepted_again"],
        "events": dict(books.progress.events),
        "machine_events": books.progress.machine_events,
        "webhooks": asdict(books.account.bodies),
        "messages_per_second": rate,
        "seconds": {name: round(value, 2) for name, value in asdict(times).items()},
        "story": story,
    }


def _why(end: End) -> str:
    """An end in a word or two: the reason, where there is one."""
    return (end.reason or end.code).removeprefix("suppressed_").replace("_", " ")


def _story(screen: Screen, contact: str | None) -> Any:
    if contact is None:
        return None
    words = ("explain --tenant", TENANT, "--contact", contact)
    screen.say()
    screen.title("One contact's story, as `explain` tells it")
    done = _do(*words)
    screen.say(f"    $ outreach {' '.join(done.command)}", style="dim")
    screen.say("\n".join(f"    {line}" for line in _said(done.command).splitlines()))
    return {"contact": contact, **done.data}


def _next_steps(screen: Screen, contact: str | None) -> None:
    screen.say()
    screen.title("Look around: the data stays until the next demo")
    screen.say(f"    $ export OUTREACH_LOCAL_DATABASE={DATABASE}")
    for command in (
        f"campaigns status {CAMPAIGN} --tenant {TENANT}",
        f"limits show --tenant {TENANT}",
        f"suppressions list --tenant {TENANT}",
        f"explain --tenant {TENANT} --contact {contact or SENDER}",
    ):
        screen.say(f"    $ .venv/bin/outreach {command}")
    screen.say(f"    Files and logs: {FOLDER}/. Everything running, to play with: make dev.")


@dataclass(frozen=True, slots=True)
class Done:
    """A command that was run, and its object."""

    command: list[str]
    data: dict[str, Any]


def _do(words: str, *more: str) -> Done:
    """Run a command of ours as if it had been typed; raises Refused when it fails."""
    command = [*words.split(), *more]
    return Done(command, orjson.loads(_said([*command, "--json"])))


def _said(command: list[str]) -> str:
    """What a command writes to standard output."""
    # Imported here: the commands' root imports this module.
    from outreach.cli import app as root

    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        code = typer.main.get_command(root)(command, standalone_mode=False)
    if code == INTERRUPTED:
        raise KeyboardInterrupt  # the signal came while the command ran: it is meant for all of us
    if code:
        raise Refused("demo_failed", f"`outreach {' '.join(command)}` ended with {code}.")
    return output.getvalue()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """The commands' environment: that of the processes beside us, and quiet."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update({**variables, "OUTREACH_LOG_LEVEL": "WARNING"})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _alone() -> Iterator[None]:
    """One demo at a time in a folder: a second would begin the first one's database anew."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("demo_runs", f"Another demo is running in {FOLDER}.") from None
        yield


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
