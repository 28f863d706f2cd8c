"""Why: everything that happened to a contact and everything that is still to come, in sentences.

The facts come from where they are kept (steps, decisions, attempts, events, timers, suppressions,
pauses) and the sentences from `core.reasons`, so that no surface has words of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from outreach.core.address import address_key, normalize_address
from outreach.core.errors import NotFound
from outreach.core.reasons import clause, sentence
from outreach.db import Database, Role
from outreach.services.campaigns import get_campaign_id
from outreach.store import explain as store
from outreach.store.explain import Person, StoryRow

ENTRIES_MAX = 2_000
UNITS = {60: "a minute", 3_600: "an hour", 86_400: "a day"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One fact: when, its code, and its sentence."""

    at: datetime
    kind: (
        str  # contact, enrollment, decision, attempt, event, transition, hold, action, suppression
    )
    code: str
    summary: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Story:
    """What is known of one contact, oldest first."""

    address: str
    name: str
    entries: list[Entry]


async def explain(
    db: Database, tenant_id: UUID, email: str, *, campaign: str | None = None
) -> Story:
    """The story of the contact with that address, of all its campaigns or of one; NotFound.

    Bounded: of more than `ENTRIES_MAX` entries the newest are told.
    """
    address = normalize_address(email)
    async with db.transaction(Role.APP, tenant_id) as tx:
        person = None
        if address is not None:
            person = await store.find_contact_by_key(tx, tenant_id, address_key(address))
        if person is None:
            raise NotFound("contact", email)
        campaign_id = None if campaign is None else await get_campaign_id(tx, tenant_id, campaign)
        about = (tx, tenant_id, person.id, campaign_id)
        plan = await store.list_plan_story(*about, rows_max=ENTRIES_MAX)
        mail = await store.list_mail_story(*about, rows_max=ENTRIES_MAX)
    rows = [*reversed(plan), *reversed(mail)]
    rows.sort(key=lambda row: (row.at, row.rank))  # stable: equal ones stay in their order
    entries = [entry(person, row) for row in rows[-ENTRIES_MAX:]]
    return Story(person.email, person.name, entries)


def entry(person: Person, row: StoryRow) -> Entry:
    """A row with its sentence; what the sentence needs is added, what is stored stays."""
    known = {"name": person.name or person.email, "address": person.email, **row.detail}
    for word in ("trigger", "event", "settled_by"):
        if word in known:
            known[word] = str(known[word]).replace("_", " ")
    if isinstance(attempts := known.get("attempts"), list):
        known["attempts"] = ", ".join(map(str, attempts))
    told_as = row.code
    match row.kind:
        case "transition" if "reason" in row.detail:
            known["why"] = clause(str(row.detail["reason"]), known)
        case "event" if "machine_reason" in row.detail:
            known["why"] = clause(str(row.detail["machine_reason"]), known)
        case "attempt" if row.detail.get("settled_by") == "answer":
            del known["settled_by"]
        case "decision":
            known.setdefault("http_status", row.detail.get("status"))
            known.setdefault("answer", row.detail.get("text"))
            known.setdefault("unit", UNITS.get(row.detail.get("window", 0)))
            if row.detail.get("scope") == "domain":
                known["domain"] = row.detail.get("key")
        case "suppression" if row.code.startswith("suppressed_"):
            known["why"] = clause(row.code, known)
            told_as = "suppression_begun"
    return Entry(row.at, row.kind, row.code, sentence(told_as, known), row.detail)
