"""The rules of `core.transitions` told a second time, small, for tests to compare with.

The model counts whole hours, knows no zone and no hours of the day, keeps the enrollment in plain
fields and follows the rules by recursion.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

IDLE_HOURS = 40
FORBIDDEN_BY = {"no_open": "opened", "no_click": "clicked", "no_reply": "replied"}
STOPPING = {"bounced", "unsubscribed", "replied"}

Heard = tuple[int, int, str, str, bool]  # hour, place among equals, id, kind, about the latest


def aliases(heard: Heard) -> list[str]:
    kind = heard[3]
    if kind.startswith("machine"):
        return []
    return ["clicked", "opened"] if kind == "clicked" else [kind]


@dataclass
class Model:
    nodes: dict[str, dict[str, Any]]
    node: str = ""
    entered: int = 0
    accepted: int | None = None
    by: str | None = None
    state: str = "active"
    visits: Counter[str] = field(default_factory=Counter)
    pending: set[tuple[Any, ...]] = field(default_factory=set)
    story: set[Heard] = field(default_factory=set)
    undo: tuple[dict[str, Any], int, str] | None = None

    # Looking

    def base(self) -> int | None:
        return self.entered if self.nodes[self.node]["action"] == "wait" else self.accepted

    def over(self, transition: dict[str, Any], hour: int) -> bool:
        base = self.base()
        return "within" in transition and base is not None and hour > base + transition["within"]

    def first(self, name: str, hour: int) -> str | None:
        for transition in self.nodes[self.node]["transitions"]:
            if transition["on"] == name and not self.over(transition, hour):
                return str(transition["to"])
        return None

    def timers(self) -> dict[str, tuple[int, str]]:
        found: dict[str, tuple[int, str]] = {}
        base = self.base()
        for transition in self.nodes[self.node]["transitions"]:
            on = transition["on"]
            if base is not None and on in FORBIDDEN_BY:
                due = base + transition["after"]
                if on not in found or due < found[on][0]:
                    found[on] = (due, transition["to"])
        return found

    def forbidden(self, on: str, due: int) -> bool:
        return any(h[0] <= due and h[4] and FORBIDDEN_BY[on] in aliases(h) for h in self.story)

    # Moving

    def finish(self, state: str) -> None:
        self.state, self.pending, self.undo = state, set(), None

    def enter(self, node: str, now: int, by: str | None) -> None:
        self.visits[node] += 1
        self.node, self.entered, self.by, self.undo = node, now, by, None
        self.pending = set()
        if self.nodes[node]["action"] == "send":
            self.accepted = None
            self.pending = {("send", node, self.visits[node], now)}

    def listen(
        self,
        queue: set[Heard],
        now: int,
        open_ends: set[Heard],
        skip: frozenset[tuple[str, str]] = frozenset(),
        seen: frozenset[str] = frozenset(),
    ) -> bool:
        """True when something moved."""
        for heard in sorted(queue):
            for name in aliases(heard):
                deaf = self.base() is None or not heard[4]
                if (heard[2], name) in skip or (deaf and name not in STOPPING):
                    continue
                to = self.first(name, heard[0])
                if to == "stop":
                    self.finish("stopped")
                    return True
                if to and not (to in seen and self.nodes[to]["action"] == "wait"):
                    self.enter(to, now, name)
                    rest = open_ends - {heard}
                    waits = self.base() is not None
                    more = {h for h in self.story if h[4]} | rest if waits else rest
                    self.listen(more, now, rest, frozenset({(heard[2], name)}), seen | {to})
                    return True
                if heard in open_ends and name in STOPPING:
                    self.finish("stopped")
                    return True
                if heard in open_ends and name == "failed":
                    self.finish("failed")
                    return True
        return False

    def settle(self, now: int) -> None:
        if self.state != "active" or self.base() is None:
            return
        left = {
            (on, due)
            for on, (due, _) in self.timers().items()
            if due > now or not self.forbidden(on, due)
        }
        self.pending = {("timer", self.node, self.visits[self.node], *each) for each in left}
        if not left:
            self.idle(now)

    def idle(self, now: int) -> None:
        hopes = [t for t in self.nodes[self.node]["transitions"] if t["on"] not in FORBIDDEN_BY]
        if all(self.over(transition, now) for transition in hopes):
            self.finish("completed")
        else:
            due = self.quiet_since() + IDLE_HOURS
            self.pending = {("timer", self.node, self.visits[self.node], "idle", due)}

    def quiet_since(self) -> int:
        base = self.base()
        assert base is not None
        return max([base, *(h[0] for h in self.story if aliases(h))])

    # What happens to it

    def accept(self, now: int, known: set[Heard]) -> None:
        self.accepted, self.undo, self.story = now, None, known
        self.pending = set()
        self.listen(known, now, known)
        self.settle(now)

    def fail(self, now: int) -> None:
        to = self.first("failed", now)
        if to is None or to == "stop":
            self.finish("stopped" if to else "failed")
        else:
            self.enter(to, now, "failed")
            self.settle(now)

    def hear(self, new: set[Heard], now: int, can_take_back: bool) -> None:
        self.story |= {h for h in new if h[4]}
        if can_take_back and self.undo and any(self.undoes(h) for h in new):
            skip = self.take_back(new)
            self.listen(self.story | new, now, new, skip)
            self.settle(now)
        elif self.listen(new, now, new):
            self.settle(now)

    def undoes(self, heard: Heard) -> bool:
        assert self.undo is not None
        before, due, on = self.undo
        there = Model(self.nodes, **before)
        return heard[0] <= due and any(
            name in STOPPING
            or (
                heard[4]
                and (
                    name in (FORBIDDEN_BY[on], "failed") or there.first(name, heard[0]) is not None
                )
            )
            for name in aliases(heard)
        )

    def take_back(self, new: set[Heard]) -> frozenset[tuple[str, str]]:
        assert self.undo is not None
        for name, value in self.undo[0].items():
            setattr(self, name, value)
        self.undo = None
        if self.by is None or self.nodes[self.node]["action"] == "send":
            return frozenset()
        told = {h for h in self.story - new if h[0] <= self.entered}
        return frozenset((h[2], self.by) for h in told)

    def fire(self, on: str, now: int) -> None:
        self.pending = {p for p in self.pending if p[3] != on}
        if on == "idle":
            due = self.quiet_since() + IDLE_HOURS
            if due > now:
                self.pending = {("timer", self.node, self.visits[self.node], "idle", due)}
            else:
                self.finish("completed")
            return
        due, to = self.timers()[on]
        if self.forbidden(on, due):
            others = self.timers().items()
            if all(due <= now and self.forbidden(on, due) for on, (due, _) in others):
                self.idle(now)
        elif to == "stop":
            self.finish("stopped")
        else:
            before = {k: getattr(self, k) for k in ("node", "entered", "accepted", "by")}
            self.enter(to, now, on)
            self.undo = (before, due, on)
            if self.base() is not None:
                self.listen(self.story, now, set(), seen=frozenset({to}))
            self.settle(now)
