"""Steps that a machine's event led to while it was taken for a person's, and from where.

Whether a click was a machine's may show only later, by another click or a delivery that comes in
another body. The rule is the one for timers: late evidence takes back a step that has not been
claimed. All that followed from the step is taken back with it, and everything known is heard again
from there, so that in the end it does not matter what was heard of first.

An end is final, and what was sent was sent: there only the mark changes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from outreach.core.matching import Event, Position
from outreach.core.plan import Trigger

TAKEN_BACK = frozenset({"step_taken_back", "step_of_a_machine"})


@dataclass(frozen=True, slots=True)
class Taken:
    """A step that an enrollment has taken."""

    from_node_id: str | None
    to_node_id: str | None
    trigger: str | None
    code: str
    event_id: str | None
    at: datetime  # when it was taken, not when what it answers to happened


@dataclass(frozen=True, slots=True)
class Mistake:
    """A step that a machine's event led to, and from where; nothing was sent since."""

    before: Position  # without its own `previous`
    event: Event


def find_mistake(
    steps: Sequence[Taken],
    position: Position,
    accepted_at: datetime | None,
    turned: Collection[Event],
) -> Mistake | None:
    """The first step still in force that one of these events led to; None without one.

    `steps` are all that were taken, in order; `turned` are events of the latest message, accepted
    at `accepted_at`, that were taken for a person's until now.
    """
    events = {event.id: event for event in turned}
    path = _in_force(steps)
    for place, step in enumerate(path):
        if step.event_id in events and step.from_node_id is not None:
            return Mistake(
                _position(path[:place], step.from_node_id, position, accepted_at),
                events[step.event_id],
            )
    return None


def _in_force(steps: Sequence[Taken]) -> list[Taken]:
    """Those that were not taken back."""
    path: list[Taken] = []
    for step in steps:
        if step.code not in TAKEN_BACK:
            path.append(step)
            continue
        # Back to where it stood, however many steps ago.
        while path and path[-1].to_node_id != step.to_node_id:
            path.pop()
    return path


def _position(
    path: Sequence[Taken], node_id: str, here: Position, accepted_at: datetime | None
) -> Position:
    """Where it stood after these steps."""
    arrival = next((s for s in reversed(path) if s.from_node_id != s.to_node_id), None)
    word = None if arrival is None else arrival.trigger
    return Position(
        node_id=node_id,
        visits=here.visits,
        entered_at=here.entered_at if arrival is None else arrival.at,
        came_by=None if word is None else Trigger(word),
        accepted_at=accepted_at,
        message_node_id=here.message_node_id,
    )
