"""Evidence against what is recorded: an acceptance of what was refused, and a second acceptance.

Acceptance is the top: whoever proves it, in whatever order, the message ends as sent and goes out
no more. What was recorded before, that the provider had refused or never seen it, was then wrong,
which nobody may pass over: it is an incident, once for each attempt. Where another attempt of the
message is still on its way the proof is kept and weighed again when that one ends. Where two
attempts were accepted, somebody got a mail twice, the worst that can happen here, and that is an
incident of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from outreach.core.outcome import Accepted, NotSent, Outcome, Rejected
from outreach.core.states import AttemptOutcome
from outreach.sql import Tx
from outreach.store import events, unknowns
from outreach.store.incidents import Incident, raise_incidents
from outreach.store.unknowns import Contested, Evidence

CONTRADICTION = "contradiction"
DOUBLE_SEND = "double_send"

_REFUSED = frozenset({AttemptOutcome.REJECTED, AttemptOutcome.NOT_SENT})
_LIVE = frozenset({AttemptOutcome.ARMED, AttemptOutcome.UNKNOWN, AttemptOutcome.ACCEPTED})

Attempt = tuple[UUID, int]


@dataclass(frozen=True, slots=True)
class Saying:
    """What is recorded of an attempt, and what somebody says of it now."""

    message_id: UUID
    attempt: int
    recorded: AttemptOutcome
    outcome: Outcome
    said_by: str

    @property
    def is_acceptance_of_refused(self) -> bool:
        return self.recorded in _REFUSED and isinstance(self.outcome, Accepted)

    @property
    def is_refusal_of_accepted(self) -> bool:
        is_refusal = isinstance(self.outcome, Rejected | NotSent)
        return self.recorded is AttemptOutcome.ACCEPTED and is_refusal


async def report(tx: Tx, tenant_id: UUID, sayings: Sequence[Saying]) -> set[Attempt]:
    """Raise incidents for sayings against what is recorded; refused attempts to be accepted now.

    The messages are locked. Each of the attempts that come back is the only one of its message
    that may have been accepted.
    """
    against = [s for s in sayings if s.is_acceptance_of_refused or s.is_refusal_of_accepted]
    await raise_incidents(tx, tenant_id, [_contradiction(saying) for saying in against])
    proofs = [saying for saying in against if saying.is_acceptance_of_refused]
    if not proofs:
        return set()
    for source in {proof.said_by for proof in proofs}:
        said = [Evidence(p.message_id, p.attempt) for p in proofs if p.said_by == source]
        await unknowns.insert_evidence(tx, tenant_id, source, "accepted", said)
    return await _reopenable(tx, tenant_id, [(p.message_id, p.attempt) for p in proofs])


async def revisit(tx: Tx, tenant_id: UUID, message_ids: Collection[UUID]) -> list[Contested]:
    """Weigh kept proofs again, now that later attempts of these messages have come to something."""
    contested = await unknowns.list_contested(tx, tenant_id, message_ids)
    if not contested:
        return []
    attempts = [(one.message_id, one.attempt) for one in contested]
    reopened = await _reopenable(tx, tenant_id, attempts)
    return [one for one in contested if (one.message_id, one.attempt) in reopened]


async def _reopenable(tx: Tx, tenant_id: UUID, attempts: Sequence[Attempt]) -> set[Attempt]:
    """Those without a rival; a rival that was accepted makes it a double send."""
    made = await events.list_attempts(tx, tenant_id, {message_id for message_id, _ in attempts})
    found: dict[UUID, int] = {}
    doubles: list[Incident] = []
    for message_id, attempt in sorted(attempts):
        rivals = {n: o for n, o in made[message_id].items() if n != attempt and o in _LIVE}
        was_accepted = AttemptOutcome.ACCEPTED in rivals.values() or message_id in found
        if was_accepted:
            numbers = sorted(
                {attempt, *rivals, *([found[message_id]] if message_id in found else [])}
            )
            doubles.append(Incident(DOUBLE_SEND, str(message_id), {"attempts": numbers}))
        elif not rivals:
            found[message_id] = attempt
    await raise_incidents(tx, tenant_id, doubles)
    return set(found.items())


def _contradiction(saying: Saying) -> Incident:
    detail = {
        "attempt": saying.attempt,
        "recorded": saying.recorded.value,
        "said_by": saying.said_by,
    }
    return Incident(CONTRADICTION, f"{saying.message_id}:{saying.attempt}", detail)
