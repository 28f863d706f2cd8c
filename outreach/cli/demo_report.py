"""The demo's closing report: our books against those of the stand-in, each claim checked."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import aiohttp

from outreach.core.errors import Unavailable
from outreach.core.states import EnrollmentState, MessageState
from outreach.db import Database
from outreach.services.reconcile import (
    Account,
    Progress,
    account,
    count_waiting,
    list_sent,
    progress,
)

PAGE_ROWS = 1_000
ANSWER_SECONDS_MAX = 30.0
APPLIED_SECONDS_MAX = 20.0
LOOK_SECONDS = 0.1
UNSETTLED = (MessageState.SENDING, MessageState.WAITING_RETRY, MessageState.UNKNOWN)
SUPPRESSING = ("bounced", "unsubscribed", "spam_report")


@dataclass(frozen=True, slots=True)
class Theirs:
    """What the stand-in has on record."""

    summary: dict[str, Any]
    accepted: Counter[str]  # how often each message's id was accepted

    @property
    def events_taken(self) -> int:
        return sum(self.summary["events"].values())


@dataclass(frozen=True, slots=True)
class Check:
    """One claim, and whether it holds."""

    name: str
    is_ok: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Books:
    """Both sides at the end."""

    progress: Progress
    account: Account
    sent: list[UUID]
    theirs: Theirs

    def checks(self) -> list[Check]:
        """Every claim that the demo makes."""
        return [
            self._everybody_ended(),
            self._sent_is_accepted(),
            self._nothing_unsettled(),
            self._nobody_after_suppression(),
            self._every_webhook_applied(),
        ]

    def _everybody_ended(self) -> Check:
        found = self.progress
        ends = (EnrollmentState.COMPLETED, EnrollmentState.STOPPED, EnrollmentState.FAILED)
        parts = " + ".join(f"{found.enrollments[state]:,} {state}" for state in ends)
        is_ok = 0 < found.total == found.ended
        sign = "=" if is_ok else "is not"
        return Check("everybody_ended", is_ok, f"{found.total:,} enrolled {sign} {parts}.")

    def _sent_is_accepted(self) -> Check:
        ours, theirs = Counter(map(str, self.sent)), self.theirs
        total = theirs.summary["accepted"]
        is_ok = 0 < total == len(self.sent) and ours == theirs.accepted
        claim = "the same ones, each once" if is_ok else "and they are not the same"
        return Check(
            "sent_is_accepted",
            is_ok,
            f"{total:,} mails were accepted by the stand-in, {len(self.sent):,} are `sent` in SQL:"
            f" {claim}.",
        )

    def _nothing_unsettled(self) -> Check:
        counts = {state: self.progress.messages[state] for state in UNSETTLED}
        parts = ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in counts.items())
        return Check(
            "nothing_unsettled", not any(counts.values()), f"No mail is left open: {parts}."
        )

    def _nobody_after_suppression(self) -> Check:
        late = self.account.sent_after_suppression
        people = sum(self.progress.events[event] for event in SUPPRESSING)
        return Check(
            "nobody_after_suppression",
            late == 0,
            f"{people:,} addresses bounced, unsubscribed or complained;"
            f" {late:,} mails were sent to them after that.",
        )

    def _every_webhook_applied(self) -> Check:
        bodies, hook = self.account.bodies, self.theirs.summary["webhook"]
        stored = self.progress.events.total() + self.progress.machine_events
        repeats = self.theirs.events_taken - stored
        lost = bodies.received + bodies.quarantined + bodies.unmatched + hook["given_up"]
        return Check(
            "every_webhook_applied",
            lost == 0 and repeats >= 0 and bodies.applied > 0,
            f"{self.theirs.events_taken:,} events came in {bodies.applied:,} signed webhooks,"
            f" {repeats:,} of them again: {stored:,} are stored, each once; {lost:,} were lost.",
        )


async def settle(db: Database, sandbox_url: str) -> None:
    """Let the stand-in post what it still has to say, and see it applied."""
    async with _client(sandbox_url) as client:
        async with client.post("/sandbox/flush") as answer:
            await answer.read()
    deadline = asyncio.get_running_loop().time() + APPLIED_SECONDS_MAX
    while asyncio.get_running_loop().time() < deadline:
        if (await count_waiting(db)) == 0:
            return
        await asyncio.sleep(LOOK_SECONDS)


async def read_books(
    db: Database, tenant_id: UUID, campaign_id: UUID, sandbox_url: str, *, first_node: str
) -> Books:
    """Read both sides; nothing moves any more."""
    return Books(
        progress=await progress(db, tenant_id, campaign_id),
        account=await account(db, tenant_id, campaign_id, first_node=first_node),
        sent=await list_sent(db, tenant_id, campaign_id),
        theirs=await read_theirs(sandbox_url),
    )


async def read_theirs(sandbox_url: str) -> Theirs:
    """The stand-in's counters, and every mail that it accepted."""
    accepted: Counter[str] = Counter()
    async with _client(sandbox_url) as client:
        after: int | None = 0
        while after is not None:
            page = await _get(client, f"/sandbox/accepted?after={after}&limit={PAGE_ROWS}")
            accepted.update(mail["outreach_message_id"] for mail in page["data"])
            after = page["next_after"]
        return Theirs(await _get(client, "/sandbox"), accepted)


def _client(sandbox_url: str) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX)
    return aiohttp.ClientSession(sandbox_url, timeout=timeout)


async def _get(client: aiohttp.ClientSession, path: str) -> Any:
    async with client.get(path) as answer:
        if answer.status != 200:
            raise Unavailable(f"The stand-in answers {answer.status} to {path}.")
        return await answer.json()
