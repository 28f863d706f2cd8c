"""One call's way through a plan: from a position, by events, to where the enrollment stands then.

A walk starts at a position, meets events in the order in which they happened, and ends at one node
or at an end. Steps are kept for each node passed; sends and timers only for the last one. Within
one walk no wait node is entered twice, so a ring of waits cannot turn for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from outreach.core import matching
from outreach.core.advance import IDLE, Advance, Send, Step, Timer
from outreach.core.matching import ALWAYS, Event, Position
from outreach.core.plan import STOP, Plan, Trigger
from outreach.core.schedule import NoAllowedMoment, next_allowed
from outreach.core.states import EnrollmentState
from outreach.core.suppression import end_code


class Walk:
    """The state of one walk; built, led by `core.transitions`, and asked for its `advance`."""

    def __init__(
        self,
        plan: Plan,
        position: Position,
        zone: ZoneInfo,
        now: datetime,
        *,
        known: Iterable[Event] = (),
        fresh: Iterable[Event] = (),
    ) -> None:
        self.plan, self.position, self.zone, self.now = plan, position, zone, now
        self.state, self.end_reason = EnrollmentState.ACTIVE, ""
        self.steps: list[Step] = []
        self.sends: list[Send] = []
        self.timers: list[Timer] = []
        self.has_moved = False
        self.is_at_rest = False  # what is still pending of its timers can do nothing any more
        # All that is known of the latest message; and what nobody has acted on yet.
        self._known = {event.id: event for event in known if event.is_latest}
        self._fresh = {event.id: event for event in fresh}
        self._entered: set[str] = set()
        self._spent: set[tuple[str, Trigger]] = set()  # names not to be matched at this node

    @property
    def is_going(self) -> bool:
        """It has not come to an end."""
        return self.state is EnrollmentState.ACTIVE

    @property
    def known(self) -> list[Event]:
        """All that is known of the latest message, as it happened."""
        return matching.in_order(self._known.values())

    def advance(self) -> Advance:
        """What came of it."""
        return Advance(
            position=self.position,
            state=self.state,
            end_reason=self.end_reason or None,
            steps=tuple(self.steps),
            sends=tuple(self.sends),
            timers=tuple(self.timers),
            cancels_pending=self.has_moved or self.is_at_rest or not self.is_going,
        )

    # Moving

    def go(self, to: str, trigger: Trigger, code: str, at: datetime, event_id: str | None) -> None:
        """Follow a transition, to a node or to `stop`."""
        if to == STOP:
            self.end(EnrollmentState.STOPPED, end_code(trigger), trigger, at, event_id)
        else:
            self.enter(to, trigger, code, at, event_id)

    def enter(
        self, to: str, trigger: Trigger | None, code: str, at: datetime, event_id: str | None
    ) -> None:
        """Stand at a node; a send node gets its message, or what its `failed` says without one."""
        self._place(to, trigger, code, at, event_id)
        while self.is_going and not self._is_scheduled():
            self._step_off_failed("no_allowed_moment")

    def fail(self, reason: str) -> None:
        """The node's message will never go: follow `failed` where the node names it, or end."""
        self._step_off_failed(reason)
        while self.is_going and not self._is_scheduled():
            self._step_off_failed("no_allowed_moment")

    def end(
        self,
        state: EnrollmentState,
        reason: str,
        trigger: Trigger | None,
        at: datetime,
        event_id: str | None,
    ) -> None:
        """Nothing moves after this."""
        here = self.position
        self.steps.append(Step(here.node_id, None, here.visit, trigger, event_id, state.value, at))
        self.state, self.end_reason = state, reason
        self.sends, self.timers = [], []
        self.position = replace(here, previous=None)

    def restore(
        self,
        before: Position,
        event: Event,
        new: Collection[Event],
        code: str = "step_taken_back",
    ) -> None:
        """Take back what led on from there and hear everything again.

        The visits stay counted, since they number the messages.
        """
        here, trigger = self.position, self.position.came_by
        self.position = replace(before, visits=here.visits, previous=None)
        self.steps.append(
            Step(
                here.node_id,
                before.node_id,
                self.position.visit,
                trigger,
                event.id,
                code,
                event.at,
            )
        )
        self.has_moved = True
        self._spent = self._spent_on_the_way_to(before, {event.id for event in new})
        self.hear_again()

    def _place(
        self, to: str, trigger: Trigger | None, code: str, at: datetime, event_id: str | None
    ) -> None:
        here = self.position
        visits = {**here.visits, to: here.visits.get(to, 0) + 1}
        self.steps.append(Step(here.node_id or None, to, visits[to], trigger, event_id, code, at))
        is_send = self.plan.node(to).action == "send"
        self.position = Position(
            node_id=to,
            visits=visits,
            entered_at=self.now,
            came_by=trigger,
            accepted_at=None if is_send else here.accepted_at,
            message_node_id=here.message_node_id,
        )
        self.sends, self.has_moved = [], True
        self._entered.add(to)
        self._spent = {(event_id, trigger)} if event_id is not None and trigger else set()

    def _is_scheduled(self) -> bool:
        """The node has no message to schedule, or has it scheduled; False: no moment is allowed."""
        here = self.position
        node = self.plan.node(here.node_id)
        if node.action == "send":
            earliest = node.schedule.delay.after(self.now, self.zone)
            try:
                due = next_allowed(self.plan, self.zone, earliest)
            except NoAllowedMoment:
                return False
            self.sends = [Send(node.id, here.visit, due)]
        return True

    def _step_off_failed(self, reason: str) -> None:
        to = matching.target(self.plan, self.position, self.zone, Trigger.FAILED, self.now)
        if to is None or to in self._entered:
            self.end(EnrollmentState.FAILED, reason, None, self.now, None)
        elif to == STOP:
            self.end(EnrollmentState.STOPPED, reason, Trigger.FAILED, self.now, None)
        else:
            self._place(to, Trigger.FAILED, reason, self.now, None)

    # Events

    def meet(self, events: Iterable[Event]) -> None:
        """Let the node hear the events in order; a new node begins with what it is to hear."""
        queue = iter(matching.in_order(events))
        while self.is_going and (event := next(queue, None)) is not None:
            if self._reacts(event):
                queue = iter(self._to_hear_on_entry())

    def hear_again(self) -> None:
        """Meet all that is known of the latest message, and what nobody has acted on."""
        self.meet({**self._known, **self._fresh}.values())

    def hear_on_entry(self) -> None:
        """Meet what the node just entered is to hear."""
        self.meet(self._to_hear_on_entry())

    def _to_hear_on_entry(self) -> list[Event]:
        """A wait is about the latest message and hears its story; a send's has yet to begin."""
        if matching.awaits_acceptance(self.plan, self.position):
            return matching.in_order(self._fresh.values())
        return matching.in_order({**self._known, **self._fresh}.values())

    def _reacts(self, event: Event) -> bool:
        """Whether the event moved the enrollment, or ended it."""
        here = self.position
        for name in matching.names(self.plan, event):
            if (event.id, name) in self._spent:
                continue
            if not matching.applies(self.plan, here, event, name):
                continue
            to = matching.target(self.plan, here, self.zone, name, event.at)
            if to is not None and not self._is_ring(to):
                self._fresh.pop(event.id, None)
                self.go(to, name, "event", event.at, event.id)
                return True
            if event.id in self._fresh and self._ends_on(name, event):
                return True
        return False

    def _ends_on(self, name: Trigger, event: Event) -> bool:
        """End on what the node says nothing of, where it must not go on as if nothing was."""
        if name in ALWAYS:
            self.end(EnrollmentState.STOPPED, end_code(name), name, event.at, event.id)
        elif name is Trigger.FAILED:
            self.end(EnrollmentState.FAILED, "dropped", name, event.at, event.id)
        return not self.is_going

    def _is_ring(self, to: str) -> bool:
        return to in self._entered and self.plan.node(to).action == "wait"

    def _spent_on_the_way_to(self, before: Position, new: set[str]) -> set[tuple[str, Trigger]]:
        """What a wait node had been told under the name that led there, which is not told again."""
        name = before.came_by
        if name is None or self.plan.node(before.node_id).action != "wait":
            return set()
        return {
            (event.id, name)
            for event in self._known.values()
            if event.at <= before.entered_at and event.id not in new
        }

    # Coming to rest

    def settle(self) -> None:
        """Set the timers of the node where it stands; without any it waits idly, or is complete."""
        if not self.is_going or matching.awaits_acceptance(self.plan, self.position):
            return
        here = self.position
        left = self.timers_left()
        if left:
            self.timers = [Timer(here.node_id, here.visit, on, due) for on, due in left.items()]
        else:
            self.rest()

    def timers_left(self) -> dict[Trigger, datetime]:
        """The node's timers that are yet to come due, or are due and may fire."""
        due_at = matching.timers(self.plan, self.position, self.zone)
        return {
            on: due
            for on, due in due_at.items()
            if due > self.now or matching.forbidding(self.plan, self.known, on, due) is None
        }

    def rest(self) -> None:
        """No timer is left: wait idly for what could still happen, else complete."""
        if matching.can_still_happen(self.plan, self.position, self.zone, self.now):
            self.idle()
        else:
            self.end(EnrollmentState.COMPLETED, "completed", None, self.now, None)

    def idle(self) -> None:
        """Wait for real events, until none has come for so long as the plan says."""
        here = self.position
        self.timers = [Timer(here.node_id, here.visit, IDLE, self.idle_due_at())]

    def idle_due_at(self) -> datetime:
        """When the plan's patience ends, counted from the last event that means anything to it."""
        start = matching.started_at(self.plan, self.position)
        assert start is not None, "nothing idles before its message is accepted"
        heard = [event.at for event in self.known if matching.names(self.plan, event)]
        return self.plan.idle_after.after(max([start, *heard]), self.zone)
