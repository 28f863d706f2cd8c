"""Random plans and random lives, told twice: by `core.transitions` and by a small model.

Both sides get the same life; after every happening they must agree on the state, the node, the
visits and all that is pending.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from outreach.core.plan import Plan, Trigger
from outreach.core.states import EventType
from outreach.core.transitions import (
    Advance,
    Event,
    on_accepted,
    on_events,
    on_failed,
    on_timer,
    start,
)
from tests.core.transitions_model import FORBIDDEN_BY, IDLE_HOURS, Heard, Model

ZONE = ZoneInfo("UTC")
T0 = datetime(2026, 5, 4, tzinfo=UTC)
REAL = ["delivered", "opened", "clicked", "replied", "bounced", "unsubscribed", "failed"]
NODE_IDS = ["n0", "n1", "n2", "n3"]


def at(hour: int) -> datetime:
    return T0 + timedelta(hours=hour)


def hour_of(moment: datetime) -> int:
    return int((moment - T0) / timedelta(hours=1))


@dataclass
class Told:
    """The same life by way of the code under test, with its writes applied as a store would."""

    plan: Plan
    now: int = 0
    pending: set[tuple[Any, ...]] = field(default_factory=set)
    history: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.write(start(self.plan, ZONE, T0))

    def write(self, advance: Advance | None) -> None:
        if advance is None:
            return
        self.position, self.state = advance.position, advance.state.value
        if advance.cancels_pending:
            self.pending = set()
        for send in advance.sends:
            self.pending.add(("send", send.node_id, send.visit, hour_of(send.due_at)))
        for timer in advance.timers:
            self.pending.add(("timer", timer.node_id, timer.visit, timer.on, hour_of(timer.due_at)))


def to_event(heard: Heard) -> Event:
    hour, _, event_id, kind, latest = heard
    is_machine = kind.startswith("machine")
    word = kind.removeprefix("machine ")
    event_type = Trigger.FAILED if word == "failed" else EventType(word)
    return Event(event_id, event_type, at(hour), is_machine, latest)


def to_plan(nodes: dict[str, dict[str, Any]]) -> Plan:
    def spelled(transition: dict[str, Any]) -> dict[str, Any]:
        return {
            key: f"PT{value}H" if key in ("within", "after") else value
            for key, value in transition.items()
        }

    return Plan.model_validate(
        {
            "version": "1.0",
            "timezone": "UTC",
            "start_node_id": "n0",
            "idle_after": f"PT{IDLE_HOURS}H",
            "nodes": [
                {
                    "id": node_id,
                    "action": node["action"],
                    "subject": "s",
                    "body": "b",
                    "transitions": [spelled(t) for t in node["transitions"]],
                }
                for node_id, node in nodes.items()
            ],
        }
    )


targets = st.sampled_from([*NODE_IDS, "stop"])
real = st.fixed_dictionaries(
    {"on": st.sampled_from(REAL), "to": targets}, optional={"within": st.integers(0, 30)}
)
timed = st.fixed_dictionaries(
    {"on": st.sampled_from(sorted(FORBIDDEN_BY)), "to": targets, "after": st.integers(1, 30)}
)
node = st.fixed_dictionaries(
    {
        "action": st.sampled_from(["send", "send", "wait"]),
        "transitions": st.lists(timed | real, max_size=5),
    }
)
plans = st.fixed_dictionaries(dict.fromkeys(NODE_IDS, node))

happenings = st.lists(
    st.tuples(
        st.sampled_from([*REAL, "opened", "clicked", "machine opened", "machine clicked"]),
        st.integers(0, 30),
        st.sampled_from([True, True, True, False]),
    ),
    min_size=1,
    max_size=3,
)
lives = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 45)),
        st.tuples(st.just("accept"), st.just([]) | happenings),
        st.tuples(st.just("hear"), happenings),
        st.tuples(st.sampled_from(["claim", "fail"]), st.none()),
    ),
    max_size=14,
)


class Life:
    """Leads both sides through the same happenings and compares them after each."""

    def __init__(self, nodes: dict[str, dict[str, Any]]) -> None:
        self.model, self.told = Model(nodes), Told(to_plan(nodes))
        self.model.enter("n0", 0, None)
        self.model.settle(0)
        self.now, self.is_claimed, self.count = 0, False, 0
        self.compare()

    def compare(self) -> None:
        model, told = self.model, self.told
        assert (model.state, model.node) == (told.state, told.position.node_id)
        assert dict(model.visits) == dict(told.position.visits)
        assert model.pending == told.pending
        assert (model.undo is not None) == (told.position.previous is not None)

    def lead(self, what: str, value: Any) -> None:
        send = next((p for p in self.told.pending if p[0] == "send"), None)
        if what == "wait":
            self.now += value
            self.fire_due()
        elif what == "hear":
            self.hear(self.heard(value))
        elif send is not None and what == "claim":
            self.is_claimed = True
        elif send is not None and what == "accept":
            self.accept({h for h in self.heard(value) if h[4]})
        elif send is not None and what == "fail":
            self.told.write(
                on_failed(self.told.plan, self.told.position, "refused", ZONE, at(self.now))
            )
            self.model.fail(self.now)
            self.is_claimed = False
        self.compare()

    def heard(self, value: list[tuple[str, int, bool]]) -> set[Heard]:
        found = set()
        for kind, age, latest in value:
            self.count += 1
            words = ["delivered", "opened", "clicked", "replied", "bounced", "unsubscribed"]
            word = kind.removeprefix("machine ")
            place = words.index(word) if word in words else len(words)
            found.add((self.now - age, place, f"e{self.count:03}", kind, latest))
        return found

    def accept(self, known: set[Heard]) -> None:
        self.told.history = [to_event(h) for h in known]
        self.told.pending = set()
        self.told.write(
            on_accepted(
                self.told.plan,
                self.told.position,
                at(self.now),
                self.told.history,
                ZONE,
                at(self.now),
            )
        )
        self.model.accept(self.now, known)
        self.is_claimed = False

    def hear(self, new: set[Heard]) -> None:
        before = (self.model.node, self.model.visits.total())
        events = [to_event(h) for h in new]
        self.told.write(
            on_events(
                self.told.plan,
                self.told.position,
                events,
                self.told.history,
                ZONE,
                at(self.now),
                can_take_back=not self.is_claimed,
            )
        )
        self.told.history += [event for event in events if event.is_latest]
        self.model.hear(new, self.now, not self.is_claimed)
        if (self.model.node, self.model.visits.total()) != before:
            self.is_claimed = False

    def fire_due(self) -> None:
        for _ in range(20):  # a wait of its own may bring a timer due again
            due = sorted(p for p in self.told.pending if p[0] == "timer" and p[4] <= self.now)
            if not due or self.model.state != "active":
                return
            timer = min(due, key=lambda p: (p[4], p[3]))
            self.told.pending.discard(timer)
            _, node_id, visit, on, _ = timer
            self.told.write(
                on_timer(
                    self.told.plan,
                    self.told.position,
                    on,
                    visit,
                    node_id,
                    self.told.history,
                    ZONE,
                    at(self.now),
                )
            )
            self.model.fire(on, self.now)
            self.compare()


@settings(max_examples=700, deadline=None)
@given(nodes=plans, life=lives)
def test_both_tell_the_same_life(nodes: dict[str, dict[str, Any]], life: list[Any]) -> None:
    both = Life(nodes)
    for what, value in life:
        if both.model.state != "active":
            break
        both.lead(what, value)


@settings(max_examples=200, deadline=None)
@given(
    transitions=st.lists(timed | real, max_size=5),
    kind=st.sampled_from([k for k in REAL if k != "failed"]),
    happened=st.integers(0, 30),
)
def test_late_is_as_good_as_in_time_while_nothing_was_sent(
    transitions: list[dict[str, Any]], kind: str, happened: int
) -> None:
    """One event, told when it happened or after the first timer has moved the plan: one place."""
    moved_to = [dict(t, to="n1" if t["to"] != "stop" else "stop") for t in transitions]
    nodes = {
        "n0": {"action": "send", "transitions": moved_to},
        "n1": {"action": "send", "transitions": [{"on": "no_reply", "to": "n0", "after": 999}]},
    }
    ends = []
    for arrival in (happened, max(happened, 31)):
        life = Life(nodes)
        life.accept(set())
        for hour in range(32):
            life.now = hour
            if hour == arrival and life.model.state == "active":
                life.hear({(happened, 0, "late", kind, True)})
            if life.model.state == "active":
                life.fire_due()
        ends.append((life.told.state, life.told.position.node_id))
    stopped_before = [t for t in moved_to if t["to"] == "stop" and t["on"] in FORBIDDEN_BY]
    if not stopped_before and "completed" not in {state for state, _ in ends}:
        assert ends[0] == ends[1]
