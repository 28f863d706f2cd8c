"""From a due send to the mail: fields, variant, rendering, and the ledger row that fixes it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from outreach import ids
from outreach.core.gates import DueSend
from outreach.core.mail import Mail
from outreach.core.plan import Plan
from outreach.core.render import Footer, choose_variant, render
from outreach.links import unsubscribe_url
from outreach.store.dispatch import Budget, Grant
from outreach.store.regain import LOST_WORDS


@dataclass(frozen=True, slots=True)
class Terms:
    """What every mail of this installation has in common."""

    public_url: str
    secret_keys: tuple[str, ...]
    inbound_domain: str | None = None


@dataclass(slots=True)  # frozen takes ten times as long to make
class Composed:
    """The grant to write and the mail to hand over; they say the same."""

    due: DueSend
    plan: Plan
    grant: Grant
    mail: Mail


def compose(due: DueSend, plan: Plan, tenant_id: UUID, budget: Budget, terms: Terms) -> Composed:
    """The first attempt's words from the plan, a later one's from the ledger.

    Raises MissingValue or RenderProblem (`core.render`) when the mail cannot be made.
    """
    key = ids.dedupe_key(due.enrollment_id, due.node_id, due.visit)
    message_id = ids.message_id(tenant_id, key)
    url = unsubscribe_url(terms.public_url, terms.secret_keys, tenant_id, message_id)
    grant = _again(due, message_id, key) or _first(
        due, plan, tenant_id, budget, message_id, key, url
    )
    inbound = terms.inbound_domain
    reply_to = due.reply_to if due.attempts is None else due.message_reply_to
    mail = Mail(
        tenant_id=tenant_id,
        message_id=message_id,
        attempt=grant.attempt,
        campaign_id=due.campaign_id,
        to_address=due.to_address or due.email,
        from_address=due.from_address or due.from_email,
        from_name=due.message_from_name or due.from_name,
        reply_to=reply_to if inbound is None else f"r+{message_id.hex}@{inbound}",
        subject=grant.subject,
        text=grant.body_text,
        html=grant.body_html,
        unsubscribe_url=url,
        unsubscribe_mailto=None if inbound is None else f"u+{message_id.hex}@{inbound}",
        is_tracking_opens=budget.is_tracking_opens,
        is_tracking_clicks=budget.is_tracking_clicks,
        ip_pool=due.ip_pool,
    )
    return Composed(due, plan, grant, mail)


def _again(due: DueSend, message_id: UUID, key: str) -> Grant | None:
    """The next attempt at a message that the ledger has: the same words, whatever changed since.

    None where it has none, or where they were lost with the database: then they are made anew.
    """
    if due.attempts is None or due.body_text == LOST_WORDS:
        return None
    assert due.subject is not None and due.body_text is not None and due.body_html is not None
    return Grant(
        due.action_id,
        message_id,
        due.attempts + 1,
        key,
        None,
        due.subject,
        due.body_text,
        due.body_html,
    )


def _first(
    due: DueSend,
    plan: Plan,
    tenant_id: UUID,
    budget: Budget,
    message_id: UUID,
    key: str,
    url: str,
) -> Grant:
    node = plan.node(due.node_id)
    variant = choose_variant(node, tenant_id, due.enrollment_id)
    words = node if variant is None else variant
    assert words.subject is not None and words.body is not None, "validation asks for both"
    rendered = render(
        words.subject,
        words.body,
        words.body_html,
        _fields(due, budget),
        Footer(budget.postal_address or "", url),
    )
    return Grant(
        due.action_id,
        message_id,
        (due.attempts or 0) + 1,
        key,
        None if variant is None else variant.id,
        rendered.subject,
        rendered.text,
        rendered.html,
    )


def _fields(due: DueSend, budget: Budget) -> dict[str, object]:
    """The values that a template may name (`core.template.KNOWN_FIELDS`)."""
    return {
        "contact": {
            "email": due.email,
            "first_name": due.first_name,
            "last_name": due.last_name,
            "title": due.title,
            "company": due.company,
            "phone": due.phone,
            "timezone": due.timezone,
            "locale": due.locale,
            "country": due.country,
            "attributes": due.attributes,
        },
        "lead": {
            "name": due.lead_name or due.company,
            "url": due.lead_url,
            "attributes": due.lead_attributes or {},
        },
        "sender": {"name": due.from_name, "email": due.from_email},
        "tenant": {"name": budget.tenant_name, "postal_address": budget.postal_address},
        "campaign": {"name": due.campaign_name},
    }
