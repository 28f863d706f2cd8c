"""`outreach campaigns`: from a plan file to a running campaign, and how far it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TextIO
from uuid import UUID

import typer

from outreach.cli.shell import JsonFlag, Table, TenantOption, actor, emit, run, tenant_id_of
from outreach.core.audience import parse_audience
from outreach.core.errors import Invalid
from outreach.core.states import CampaignState, UnknownPolicy
from outreach.db import Database
from outreach.services import campaign_control, campaigns
from outreach.services.enroll import Addresses, Audience, Enrolled, Matching, enroll
from outreach.services.launch import launch

app = typer.Typer(no_args_is_help=True, help="Campaigns: create, enroll, launch, pause, stop.")

CampaignArgument = Annotated[str, typer.Argument(metavar="NAME|ID", help="The campaign.")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Why; everybody sees it.")]

Act = Callable[[Database, UUID], Coroutine[Any, Any, CampaignState]]


@app.command("create")
def create_command(
    tenant: TenantOption,
    name: Annotated[str, typer.Option("--name", help="What people call it; unique.")],
    plan: Annotated[Path, typer.Option("--plan", help="The plan, a JSON file.")],
    sender: Annotated[str, typer.Option("--sender", help="The address it writes from.")],
    unknown: Annotated[
        UnknownPolicy,
        typer.Option("--unknown", help="What becomes of mails that may or may not have left."),
    ] = UnknownPolicy.AT_MOST_ONCE,
    as_json: JsonFlag = False,
) -> None:
    """Make a draft from a plan file; a plan that cannot run is refused with every problem."""

    async def work(db: Database) -> campaigns.Created:
        return await campaigns.create(
            db,
            await tenant_id_of(db, tenant),
            name=name,
            plan=read_plan(plan),
            sender_email=sender,
            actor=actor(),
            unknown_policy=unknown,
        )

    made = run(work)
    data = {
        "id": made.id,
        "name": made.name,
        "state": made.state,
        "plan_version": made.plan_version,
    }
    emit(as_json, data, f"{made.name} is a draft with version {made.plan_version} of its plan.")


@app.command("enroll")
def enroll_command(
    campaign: CampaignArgument,
    tenant: TenantOption,
    everybody: Annotated[bool, typer.Option("--all", help="Every contact.")] = False,
    emails: Annotated[
        Path | None, typer.Option("--emails", help="A file with one address a line; - is stdin.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option("--where", help="E.g. \"country = 'US' and attributes.plan in ('pro')\"."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Let contacts come into a campaign; into a launched one they start at once."""

    async def work(db: Database) -> Enrolled:
        tenant_id = await tenant_id_of(db, tenant)
        with audience(everybody, emails, where) as wanted:
            return await enroll(db, tenant_id, campaign, wanted, actor=actor())

    result = run(work)
    skipped = [(f"skipped: {reason}", count) for reason, count in result.skipped.items()]
    emit(
        as_json,
        {"enrolled": result.enrolled, "skipped": result.skipped},
        Table(("contacts", "count"), [("enrolled", result.enrolled), *skipped]),
    )


@app.command("launch")
def launch_command(
    campaign: CampaignArgument,
    tenant: TenantOption,
    reason: ReasonOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Activate a draft and everybody in it; the first mails are due."""
    _act(
        lambda db, tenant_id: launch(db, tenant_id, campaign, actor=actor(), reason=reason),
        campaign,
        tenant,
        as_json=as_json,
    )


@app.command("pause")
def pause_command(
    campaign: CampaignArgument,
    tenant: TenantOption,
    reason: ReasonOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Send nothing more for the campaign until it is resumed."""
    _act(
        lambda db, tenant_id: campaign_control.pause(
            db, tenant_id, campaign, actor=actor(), reason=reason
        ),
        campaign,
        tenant,
        as_json=as_json,
    )


@app.command("resume")
def resume_command(
    campaign: CampaignArgument,
    tenant: TenantOption,
    reason: ReasonOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Let a paused campaign go on; what waited comes due in its order."""
    _act(
        lambda db, tenant_id: campaign_control.resume(
            db, tenant_id, campaign, actor=actor(), reason=reason
        ),
        campaign,
        tenant,
        as_json=as_json,
    )


@app.command("stop")
def stop_command(
    campaign: CampaignArgument,
    tenant: TenantOption,
    reason: ReasonOption = None,
    as_json: JsonFlag = False,
) -> None:
    """End the campaign for everybody in it, for good."""
    _act(
        lambda db, tenant_id: campaign_control.stop(
            db, tenant_id, campaign, actor=actor(), reason=reason
        ),
        campaign,
        tenant,
        as_json=as_json,
    )


@app.command("status")
def status_command(
    campaign: CampaignArgument, tenant: TenantOption, as_json: JsonFlag = False
) -> None:
    """Say where everybody and every mail of the campaign is."""

    async def work(db: Database) -> campaigns.Status:
        return await campaigns.status(db, await tenant_id_of(db, tenant), campaign)

    found = run(work)
    actions = {"due": found.due, "pending": found.pending, "next_due_at": found.next_due_at}
    data = {
        "state": found.state,
        "plan_version": found.plan_version,
        "enrollments": found.enrollments,
        "messages": found.messages,
        "actions": actions,
    }
    rows: list[tuple[str, str, object]] = [
        ("campaign", "state", found.state),
        ("campaign", "plan version", found.plan_version),
        *(("enrollments", name, count) for name, count in found.enrollments.items()),
        *(("messages", name, count) for name, count in found.messages.items()),
        *(("actions", name, value) for name, value in actions.items()),
    ]
    emit(as_json, data, Table(("what", "which", "value"), rows))


def read_plan(path: Path) -> bytes:
    """The file's bytes; a file that cannot be read is the caller's mistake."""
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise Invalid.at(str(path), f"cannot be read: {error.strerror}.") from error


@contextmanager
def audience(everybody: bool, emails: Path | None, where: str | None) -> Iterator[Audience]:
    """Whom the options mean, a file open while it is read; Invalid unless one is given."""
    if [everybody, emails is not None, where is not None].count(True) != 1:
        raise Invalid.at("audience", "Give one of --all, --emails FILE and --where EXPR.")
    if emails is not None:
        with _opened(emails) as file:
            yield Addresses(_lines(emails, file))
    else:
        yield Matching(() if where is None else parse_audience(where))


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    if str(path) == "-":
        yield sys.stdin
        return
    try:
        file = path.open(encoding="utf-8-sig")
    except OSError as error:
        raise Invalid.at(str(path), f"cannot be read: {error.strerror}.") from error
    with file:
        yield file


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    try:
        yield from file
    except UnicodeDecodeError:
        raise Invalid.at(str(path), "is not UTF-8 text with one address a line.") from None
    except OSError as error:
        raise Invalid.at(str(path), f"cannot be read: {error.strerror}.") from error


def _act(act: Act, campaign: str, tenant: str, *, as_json: bool) -> None:
    async def work(db: Database) -> CampaignState:
        return await act(db, await tenant_id_of(db, tenant))

    state = run(work)
    emit(as_json, {"state": state}, f"{campaign} is {state}.")
