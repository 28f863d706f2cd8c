"""The state machine: what may happen to an enrollment, in any order, compared after each step."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from outreach.core.plan import Plan
from outreach.core.schedule import zone_for
from tests.model.language import Happening, Model
from tests.model.lives import Told, seen_of_model, seen_of_told
from tests.model.plans import REAL, ZONES, plans

# A few days before the clocks change somewhere; and before two Fridays that are holidays.
BIRTHS = [(2026, 10, 2), (2026, 10, 23), (2026, 10, 29), (2027, 3, 11), (2027, 3, 26), (2027, 4, 2)]
BIRTHS += [(2026, 12, 19)]
LIFE_MAX = timedelta(days=100)
LOOKED = {"opened", "clicked"}

quarters = st.integers(0, 200).map(lambda count: timedelta(minutes=15 * count))
# Weighed, for most of the others end a life at once.
kinds = st.sampled_from([*REAL, *["opened", "clicked"] * 5, *["delivered"] * 3])
# What, how long before it was heard, how many messages before the latest, and whether a machine's.
happenings = st.tuples(
    kinds, quarters, st.sampled_from([0, 0, 0, 0, 1]), st.sampled_from([False, False, True])
)


class Lives(RuleBasedStateMachine):
    """One plan, one enrollment after the other."""

    steps: ClassVar[int] = 0
    told_of: ClassVar[Counter[str]] = Counter()

    @initialize(
        plan=plans(),
        zone=st.none() | st.sampled_from(ZONES),
        born=st.sampled_from(BIRTHS),
        after=quarters,
    )
    def begin(
        self, plan: dict[str, Any], zone: str | None, born: tuple[int, int, int], after: timedelta
    ) -> None:
        """Enter the plan."""
        self.json, self.contact_zone = plan, zone
        self.now = datetime(*born, tzinfo=UTC) + after
        self.ends_at = self.now + LIFE_MAX
        self.count, self.is_paused = 0, False
        self._enroll()

    def _enroll(self) -> None:
        plan = Plan.model_validate(self.json)
        zone = zone_for(plan, self.contact_zone)
        self.told = Told(plan, zone, self.now)
        self.model = Model(self.json, self._zone(), self.now)
        self._compare("enrolled")

    def _zone(self) -> ZoneInfo:
        """The contact's where it has one and the plan asks for it, else the plan's."""
        asked = self.json.get("send_window", {}).get("zone") == "contact"
        return ZoneInfo(self.contact_zone if self.contact_zone and asked else self.json["timezone"])

    def _compare(self, what: str) -> None:
        Lives.steps += 1
        Lives.told_of[what] += 1
        model, told = seen_of_model(self.model), seen_of_told(self.told, self.model)
        if model != told:
            note(f"{what} at {self.now}; the language: {model}; the interpreter: {told}")
        assert model == told
        if self.model.state != "active":
            Lives.told_of[f"ended {self.model.state}"] += 1

    def _is_active(self) -> bool:
        return self.model.state == "active"

    def _may_claim(self) -> bool:
        is_due = self.model.send_due is not None and not self.model.is_claimed
        return is_due and self._is_active() and not self.is_paused

    def _new(self, drawn: tuple[str, timedelta, int, bool]) -> Happening:
        kind, age, older, is_machine = drawn
        self.count += 1
        message = max(0, self.model.message - older)
        is_machine = is_machine and kind in LOOKED
        at, name = self.now - age, f"e{self.count:04}"
        return Happening(at, REAL.index(kind), name, kind, is_machine, message)

    def _hear(self, new: list[Happening], what: str) -> None:
        can_take_back, before = not self.model.is_claimed, self.model.visits.total()
        self.told.hear(new, self.now, can_take_back=can_take_back)
        if self.model.hear(new, self.now):
            what = "took a step back"
        elif self.model.visits.total() != before:
            what += ", and moved"
        self._compare(what)

    @precondition(lambda self: self._is_active())
    @rule(drawn=st.lists(happenings, min_size=1, max_size=3))
    def hear(self, drawn: list[tuple[str, timedelta, int, bool]]) -> None:
        """Some things at once, in any order, of any age."""
        new = [self._new(each) for each in drawn]
        self._hear(new, "heard one" if len(new) == 1 else "heard several at once")

    @precondition(lambda self: self._is_active() and self.model.heard)
    @rule(data=st.data())
    def hear_again(self, data: st.DataObject) -> None:
        """The same thing happened twice: another id, the same moment."""
        self.count += 1
        again = data.draw(st.sampled_from(self.model.heard))
        self._hear([again._replace(id=f"e{self.count:04}")], "heard again")

    @precondition(lambda self: self._is_active() and self.model.before)
    @rule(kind=kinds, early=quarters)
    def hear_late(self, kind: str, early: timedelta) -> None:
        """A timer has fired; now we are told what happened before it was due."""
        assert self.model.before is not None
        drawn = (kind, self.now - self.model.before.due + early, 0, False)
        self._hear([self._new(drawn)], "heard late")

    @precondition(lambda self: self._is_active() and self.now < self.ends_at)
    @rule(passed=quarters, is_paused=st.sampled_from([False] * 5 + [True]))
    def wait(self, passed: timedelta, is_paused: bool) -> None:
        """Time goes by; what is due by then fires, unless somebody has paused the enrollment."""
        self.now, self.is_paused = self.now + passed, is_paused
        if self.is_paused:
            self._compare("waited, paused")
            return
        visits = self.model.visits.total()
        fired = self.told.pass_time(self.now)
        self.model.pass_time(self.now)
        has_moved = self.model.visits.total() != visits or self.model.state == "stopped"
        self._compare(
            "waited" if not fired else "timer moved" if has_moved else "timer looked and stayed"
        )

    @precondition(lambda self: self._may_claim())
    @rule(is_answered=st.sampled_from([True, True, False]))
    def claim(self, is_answered: bool) -> None:
        """The message is taken up as soon as it is due, and mostly accepted at once."""
        assert self.model.send_due is not None
        self.now = max(self.now, self.model.send_due)
        self.told.claim()
        self.model.claim()
        self._compare("claimed")
        if is_answered:
            self.record(timedelta(0), "accept")

    @precondition(lambda self: self._is_active() and self.model.is_claimed)
    @rule(passed=quarters, outcome=st.sampled_from(["accept", "accept", "fail"]))
    def record_later(self, passed: timedelta, outcome: str) -> None:
        """What the provider said of it is recorded, perhaps much later."""
        self.record(passed, outcome)

    def record(self, passed: timedelta, outcome: str) -> None:
        """It said so now, and we write it down after so long."""
        said_at, self.now = self.now, self.now + passed
        if outcome == "accept":
            self.told.accept(said_at, self.now)
            self.model.accept(said_at, self.now)
        else:
            self.told.fail(self.now)
            self.model.fail(self.now)
        self._compare(f"recorded: {outcome}")

    @precondition(lambda self: self._is_active() and self.told.past_timers)
    @rule(data=st.data())
    def fire_stale(self, data: st.DataObject) -> None:
        """A timer of a stay that is over comes round once more: nothing may come of it."""
        timer = data.draw(st.sampled_from(self.told.past_timers))
        if self.told.is_stale(timer):
            assert self.told.fire(timer, self.now) is None
            self._compare("stale timer")

    @precondition(lambda self: not self._is_active())
    @rule(passed=quarters)
    def enroll_next(self, passed: timedelta) -> None:
        """The next contact, in the same plan."""
        self.now, self.is_paused = self.now + passed, False
        self._enroll()
