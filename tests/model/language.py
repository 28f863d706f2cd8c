"""What an enrollment does, told a second time: from the page of the plan language, by trying.

Plans are the JSON itself. Happenings are kept as they were heard, each with the number of the
message it is about; where the enrollment stands is what this module makes of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from tests.model.hours import first_allowed, later

ALWAYS = {"bounced", "spam_report", "unsubscribed", "replied"}
FORBIDDEN_BY = {"no_open": "opened", "no_click": "clicked", "no_reply": "replied"}
LEFT_OUT = {"no_open": "PT72H", "no_click": "PT24H", "no_reply": "PT72H"}


class Happening(NamedTuple):
    """Something about one message; sorts by when it happened."""

    at: datetime
    rank: int  # of what happened in one moment: as it must have happened
    id: str
    kind: str
    is_machine: bool
    message: int


class Before(NamedTuple):
    """Where the enrollment stood when a timer fired, and what it had heard by then."""

    node: str
    entered: datetime
    accepted: datetime | None
    led: tuple[str, str] | None
    heard: int
    on: str
    due: datetime


@dataclass
class Model:
    """One contact in one plan."""

    plan: dict[str, Any]
    zone: ZoneInfo
    entered: datetime
    node: str = ""
    accepted: datetime | None = None
    led: tuple[str, str] | None = None  # the happening that led here, and as what
    state: str = "active"
    visits: Counter[str] = field(default_factory=Counter)
    message: int = 0  # the latest that was taken up
    is_claimed: bool = False
    send_due: datetime | None = None
    timers: dict[str, tuple[datetime, str]] = field(default_factory=dict)
    idle_due: datetime | None = None
    heard: list[Happening] = field(default_factory=list)
    before: Before | None = None

    def __post_init__(self) -> None:
        self._enter(self.plan["start_node_id"], self.entered, None)
        self._settle(self.entered)

    # What happens to it

    def claim(self) -> None:
        """Its message is taken up: from here on it is the latest."""
        self.message, self.is_claimed = self.message + 1, True

    def accept(self, at: datetime, now: datetime) -> None:
        """The provider took the message; what is known of it already happened to this node."""
        self.accepted, self.send_due, self.before, self.is_claimed = at, None, None, False
        self._follow(self._latest(), set(self._latest()), now)
        self._settle(now)

    def fail(self, now: datetime) -> None:
        """The message will never go."""
        self.is_claimed = False
        self._step_off(now, set())
        self._settle(now)

    def hear(self, new: list[Happening], now: datetime) -> bool:
        """Several at once; true when they took a timer's step back."""
        self.heard += new
        before, fresh = self.before, set(new)
        is_back = not self.is_claimed and any(map(self._comes_in_time, new))
        if is_back and before is not None:
            self.node, self.entered, self.accepted, self.led = before[:4]
            self.send_due, self.before = None, None
            fresh = set(self.heard[before.heard :])
        if self._follow(list(fresh), fresh, now) or is_back:
            self._settle(now)
        return is_back

    def pass_time(self, now: datetime) -> None:
        """Timers that are due by now look, and fire."""
        while self.state == "active" and (due := self._due(now)):
            on, (at, to) = due
            if self.forbids(on, at):
                del self.timers[on]
                self._wait_or_complete(now)
            elif to == "stop":
                self._end("stopped")
            else:
                stood = (self.node, self.entered, self.accepted, self.led)
                self._enter(to, now, None)
                if self.state == "active":
                    if self.node == to:
                        self.before = Before(*stood, len(self.heard), on, at)
                    if self._is_wait():
                        self._follow(self._latest(), set(), now, {to})
                    self._settle(now)
        if self.state == "active" and self.idle_due and self.idle_due <= now:
            self._wait_or_complete(now)
            if self.idle_due and self.idle_due <= now:
                self._end("completed")

    # Looking

    def _node(self) -> dict[str, Any]:
        nodes: list[dict[str, Any]] = self.plan["nodes"]
        return next(node for node in nodes if node["id"] == self.node)

    def _is_wait(self) -> bool:
        return bool(self._node()["action"] == "wait")

    def _base(self) -> datetime | None:
        """From when this node counts; nothing while its message has not been accepted."""
        return self.entered if self._is_wait() else self.accepted

    def _latest(self) -> list[Happening]:
        return [h for h in self.heard if h.message == self.message]

    def _names(self, happening: Happening) -> list[str]:
        """As what it is matched, in order."""
        if happening.is_machine and not self.plan.get("count_machine_events"):
            return []
        return ["clicked", "opened"] if happening.kind == "clicked" else [happening.kind]

    def _is_over(self, transition: dict[str, Any], at: datetime) -> bool:
        base = self._base()
        if base is None or "within" not in transition:
            return False
        return at > later(base, transition["within"], self.zone)

    def _target(self, name: str, at: datetime) -> str | None:
        for transition in self._node().get("transitions", ()):
            if transition["on"] == name and not self._is_over(transition, at):
                return str(transition["to"])
        return None

    def forbids(self, on: str, due: datetime) -> bool:
        return any(h.at <= due and FORBIDDEN_BY[on] in self._names(h) for h in self._latest())

    def _due(self, now: datetime) -> tuple[str, tuple[datetime, str]] | None:
        due = [timer for timer in self.timers.items() if timer[1][0] <= now]
        return min(due, key=lambda timer: timer[1][0], default=None)

    def _comes_in_time(self, happening: Happening) -> bool:
        """Known earlier, it would have kept the timer from firing."""
        if self.before is None or happening.at > self.before.due:
            return False
        there = (self.node, self.entered, self.accepted)
        self.node, self.entered, self.accepted = self.before[:3]
        names = self._names(happening)
        counts = any(
            name in {FORBIDDEN_BY[self.before.on], "failed"}
            or self._target(name, happening.at) is not None
            for name in names
        )
        self.node, self.entered, self.accepted = there
        is_latest = happening.message == self.message
        return not ALWAYS.isdisjoint(names) or (is_latest and counts)

    # Moving

    def _follow(
        self,
        queue: list[Happening],
        fresh: set[Happening],
        now: datetime,
        through: set[str] | None = None,
    ) -> bool:
        """Match in order of time until nothing moves; only what is `fresh` ends by default."""
        queue, fresh, through, has_moved = sorted(queue), set(fresh), through or set(), False
        while queue and self.state == "active":
            happening = queue.pop(0)
            for name in self._names(happening):
                if (happening.id, name) == self.led or not self._applies(happening, name):
                    continue
                to = self._target(name, happening.at)
                if to in through and self._is_wait_node(to):
                    to = None  # one happening leads round a circle of waits once
                if to == "stop" or (to is None and name in ALWAYS and happening in fresh):
                    self._end("stopped")
                elif to is None and name == "failed" and happening in fresh:
                    self._end("failed")
                elif to is not None:
                    fresh.discard(happening)
                    through.add(to)
                    self._enter(to, now, (happening.id, name))
                    known = self._latest() if self.state == "active" and self._is_wait() else []
                    queue = sorted(fresh.union(known))
                else:
                    continue
                has_moved = True
                break
        return has_moved

    def _is_wait_node(self, node_id: str | None) -> bool:
        return any(n["id"] == node_id and n["action"] == "wait" for n in self.plan["nodes"])

    def _applies(self, happening: Happening, name: str) -> bool:
        is_heard = happening.message == self.message and self._base() is not None
        return is_heard or name in ALWAYS

    def _enter(
        self,
        node_id: str,
        now: datetime,
        led: tuple[str, str] | None,
        came_through: frozenset[str] | set[str] = frozenset(),
    ) -> None:
        self.node, self.entered, self.accepted, self.led = node_id, now, None, led
        self.visits[node_id] += 1
        self.timers, self.idle_due, self.before = {}, None, None
        self.send_due, self.is_claimed = None, False
        if not self._is_wait():
            delay = self._node().get("schedule", {}).get("delay", "PT0M")
            self.send_due = first_allowed(self.plan, self.zone, later(now, delay, self.zone))
            if self.send_due is None:
                self._step_off(now, {*came_through, node_id})

    def _step_off(self, now: datetime, came_through: set[str]) -> None:
        """The node's message can never go: `failed` is followed, round no circle, else it ends."""
        to = self._target("failed", now)
        if to == "stop":
            self._end("stopped")
        elif to is None or to in came_through:
            self._end("failed")
        else:
            self._enter(to, now, None, came_through)

    def _end(self, state: str) -> None:
        self.state, self.before, self.send_due, self.is_claimed = state, None, None, False
        self.timers, self.idle_due = {}, None

    def _settle(self, now: datetime) -> None:
        """Set the timers of the node, unless it is over already."""
        base = self._base()
        if self.state != "active" or base is None:
            return
        self.timers, self.idle_due = {}, None
        for transition in self._node().get("transitions", ()):
            on = transition["on"]
            if on in FORBIDDEN_BY:
                due = later(base, transition.get("after", LEFT_OUT[on]), self.zone)
                if on not in self.timers or due < self.timers[on][0]:
                    self.timers[on] = (due, transition["to"])
        for on, (due, _) in list(self.timers.items()):
            if due <= now and self.forbids(on, due):
                del self.timers[on]
        self._wait_or_complete(now)

    def _wait_or_complete(self, now: datetime) -> None:
        base, transitions = self._base(), self._node().get("transitions", ())
        assert base is not None
        if self.timers:
            return
        hopes = [t for t in transitions if t["on"] not in FORBIDDEN_BY]
        if all(self._is_over(transition, now) for transition in hopes):
            self._end("completed")
        else:
            last = max([base, *(h.at for h in self._latest() if self._names(h))])
            self.idle_due = later(last, self.plan.get("idle_after", "P30D"), self.zone)
