"""A plan tried out on made-up readers: a discrete-event simulation with the real interpreter.

Nothing of a plan is told twice here. `core.transitions` moves the contacts, `core.schedule` says
when a plan may write, `core.limits` how many may leave; this module only keeps time. What becomes
of a mail is asked of `fates` (`core.simulate_habits`), so that made-up readers and recorded ones
run through the same code. It is deterministic: the same order, fates and chance, the same outcome.

Left out, since a plan knows nothing of them: other campaigns, retries, outages, pauses, and a
sender's reputation changing on the way. Acceptance takes no time.

Memory: some two kilobytes for each contact under way, and counts; days and steps are bounded.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from typing import assert_never
from zoneinfo import ZoneInfo

from outreach.core import schedule, transitions
from outreach.core.advance import Advance
from outreach.core.matching import Event
from outreach.core.plan import Plan
from outreach.core.schedule import NoAllowedMoment
from outreach.core.simulate_habits import Chance, Fates
from outreach.core.simulate_order import Order, Outcome, check
from outreach.core.simulate_tokens import Bound, SenderKey, Tokens
from outreach.core.simulate_world import (
    Agenda,
    Contact,
    Heard,
    Item,
    Lane,
    Queue,
    Release,
    SendDue,
    TimerDue,
    Turn,
)
from outreach.core.states import EnrollmentState

DAYS_MAX = 366
STEPS_MAX = 10_000_000  # a loop of short timers turns for ever
DOMAIN_LOOK = timedelta(minutes=1)


def simulate(plan: Plan, order: Order, fates: Fates, chance: Chance) -> Outcome:
    """Run the plan to its last contact's end, or for as long as the bounds say; Invalid."""
    check(order)
    run = _Run(plan, order, fates)
    run.enroll(order, chance)
    run.go_on(order.start_at + timedelta(days=DAYS_MAX))
    return run.outcome()


class _Run:
    """One simulation under way."""

    def __init__(self, plan: Plan, order: Order, fates: Fates) -> None:
        self.plan, self.fates, self.now = plan, fates, order.start_at
        self.agenda, self.tokens = Agenda(), Tokens(order.caps)
        self.own_sender = order.caps.own
        self.lanes: dict[SenderKey, Lane] = defaultdict(Lane)
        self.domains: dict[int, Queue] = defaultdict(Queue)
        self.under_way, self.heard = 0, 0
        self.days: Counter[date] = Counter()
        self.nodes: Counter[str] = Counter({n.id: 0 for n in plan.nodes if n.action == "send"})
        self.ends: Counter[tuple[EnrollmentState, str]] = Counter()
        self.held: Counter[str] = Counter()  # seconds
        self.last_message_at: datetime | None = None
        self.last_end_at = order.start_at

    def enroll(self, order: Order, chance: Chance) -> None:
        """Everybody enters the plan at once, as at a launch."""
        starts: dict[ZoneInfo, Advance] = {}
        for number in range(order.contacts):
            zone = order.crowd.zone(self.plan, chance)
            if zone not in starts:
                starts[zone] = transitions.start(self.plan, zone, self.now)
            contact = Contact(number, zone, order.crowd.domain(chance), starts[zone].position)
            self.under_way += 1
            self._apply(contact, starts[zone])

    def go_on(self, until: datetime) -> None:
        """Let happen what is planned, until nothing is or the bounds are reached."""
        for _ in range(STEPS_MAX):
            found = self.agenda.next()
            if found is None or found[0] > until or not self.under_way:
                return
            self.now = found[0]
            self._happen(found[1])

    def outcome(self) -> Outcome:
        """What has come of it so far."""
        return Outcome(
            messages_by_day=dict(sorted(self.days.items())),
            messages_by_node=dict(self.nodes),
            ends=dict(self.ends.most_common()),
            unfinished=self.under_way,
            stopped_at=self.now,
            last_message_at=self.last_message_at,
            finished_at=None if self.under_way else self.last_end_at,
            held_seconds={code: seconds for code, seconds in self.held.items() if seconds},
        )

    def _happen(self, item: Item) -> None:
        match item:
            case SendDue():
                self._queue(item)
            case TimerDue():
                self._time_out(item)
            case Heard():
                self._hear(item)
            case Turn():
                self._take_turn(item.sender)
            case Release():
                self._release(item.domain)
            case _:
                assert_never(item)

    # Contacts

    def _apply(self, contact: Contact, advance: Advance) -> None:
        contact.position = advance.position
        if advance.cancels_pending:
            contact.epoch += 1
        if advance.state is not EnrollmentState.ACTIVE:
            self.ends[advance.state, advance.end_reason or ""] += 1
            self.under_way -= 1
            self.last_end_at, contact.has_ended = self.now, True
        for send in advance.sends:
            sender = self.plan.node(send.node_id).sender_identity_id or self.own_sender
            self.agenda.plan(send.due_at, SendDue(contact, contact.epoch, sender))
        for timer in advance.timers:
            due = TimerDue(contact, contact.epoch, timer.node_id, timer.visit, timer.on)
            self.agenda.plan(timer.due_at, due)

    def _time_out(self, due: TimerDue) -> None:
        contact = due.contact
        if contact.has_ended or contact.epoch != due.epoch:
            return
        at, known = contact.position, contact.history
        advance = transitions.on_timer(
            self.plan, at, due.on, due.visit, due.node_id, known, contact.zone, self.now
        )
        if advance is not None:
            self._apply(contact, advance)

    def _hear(self, heard: Heard) -> None:
        contact = heard.contact
        if contact.has_ended:
            return
        self.heard += 1
        is_latest = heard.mail == contact.mails
        event = Event(f"{self.heard}", heard.what, self.now, heard.is_machine, is_latest)
        contact.hear(heard.what, event)
        advance = transitions.on_events(
            self.plan,
            contact.position,
            [event],
            contact.history,
            contact.zone,
            self.now,
            can_take_back=False,  # nothing is heard of later than it happened
        )
        if advance is not None:
            self._apply(contact, advance)

    # Messages

    def _queue(self, due: SendDue) -> None:
        """Let it wait for its sender's tokens, which may be there."""
        if due.epoch != due.contact.epoch:
            return
        lane = self.lanes[due.sender]
        lane.waiting.append(due)
        if lane.bound is None:
            self._take_turn(due.sender)
        else:
            self._hold(lane.bound, 1)

    def _take_turn(self, sender: SenderKey) -> None:
        """Send what waits, oldest first, until the tokens are used up."""
        lane = self.lanes[sender]
        lane.bound = None
        while lane.waiting:
            lane.bound = self.tokens.bound(sender, self.now)
            if lane.bound is not None:
                self._hold(lane.bound, len(lane.waiting))
                self.agenda.plan(lane.bound.until, Turn(sender))
                return
            self._try(lane.waiting.popleft())

    def _release(self, domain: int) -> None:
        """Let as many as there are tokens stand in line again; the rest waits on."""
        queue = self.domains[domain]
        free, count = self.tokens.domain_free(domain, self.now), len(queue.waiting)
        for _ in range(count if free is None else min(free, count)):
            self._queue(queue.waiting.popleft())
        queue.is_planned = bool(queue.waiting)
        if queue.waiting:
            bound = self.tokens.domain_bound(domain, self.now)
            if bound is not None:
                self._hold(bound, len(queue.waiting))
            until = self.now + DOMAIN_LOOK if bound is None else bound.until
            self.agenda.plan(until, Release(domain))

    def _try(self, due: SendDue) -> None:
        """Judge a message for which there are tokens, and send it."""
        contact = due.contact
        if due.epoch != contact.epoch:
            return
        if not schedule.is_allowed(self.plan, contact.zone, self.now):
            self._put_off(due)
            return
        if contact.refusal is not None:
            self._refuse(contact, contact.refusal)
            return
        bound = self.tokens.domain_bound(contact.domain, self.now)
        if bound is None:
            self._send(due)
        else:
            self._wait_for_domain(due, bound)

    def _put_off(self, due: SendDue) -> None:
        contact = due.contact
        try:
            until = schedule.next_allowed(self.plan, contact.zone, self.now)
        except NoAllowedMoment:
            reason = "no_allowed_moment"
            at, zone = contact.position, contact.zone
            self._apply(contact, transitions.on_failed(self.plan, at, reason, zone, self.now))
        else:
            self.agenda.plan(until, due)

    def _refuse(self, contact: Contact, reason: str) -> None:
        at, zone = contact.position, contact.zone
        self._apply(contact, transitions.on_refused(self.plan, at, reason, zone, self.now))

    def _wait_for_domain(self, due: SendDue, bound: Bound) -> None:
        domain = due.contact.domain
        assert domain is not None, "only a big domain binds"
        queue = self.domains[domain]
        queue.waiting.append(due)
        self._hold(bound, 1)
        if not queue.is_planned:
            queue.is_planned = True
            self.agenda.plan(bound.until, Release(domain))

    def _send(self, due: SendDue) -> None:
        contact, now = due.contact, self.now
        self.tokens.take(due.sender, contact.domain, now)
        self.nodes[contact.position.node_id] += 1
        self.days[now.astimezone(self.plan.zone).date()] += 1
        self.last_message_at = now
        contact.mails += 1
        contact.history = []
        for happening in self.fates(contact.number, contact.mails):
            at = now + timedelta(seconds=happening.after_seconds)
            heard = Heard(contact, contact.mails, happening.what, happening.is_machine)
            self.agenda.plan(at, heard)
        advance = transitions.on_accepted(self.plan, contact.position, now, [], contact.zone, now)
        assert advance is not None, "a message that is due is awaited"
        self._apply(contact, advance)

    def _hold(self, bound: Bound, mails: int) -> None:
        self.held[bound.reason] += round((bound.until - self.now).total_seconds() * mails)
