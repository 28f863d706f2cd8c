"""What a new version of a plan changes, in words for a person and in kinds for the update.

Nodes are the same when they have the same id. Two versions differ only where their meaning does:
defaults that are written out and keys in another order are no difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from outreach.core.plan import Node, Plan, Transition, Variant
from outreach.core.plan_model import Model

SHOWN_MAX = 60  # of a subject, characters


class Kind(StrEnum):
    """What becomes of a node."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class Part(StrEnum):
    """The part of a node or of a plan that changes."""

    ACTION = "action"
    WORDS = "words"
    DELAY = "delay"
    TRANSITIONS = "transitions"
    VARIANTS = "variants"
    SENDER = "sender"
    PERSONALIZE = "personalize"
    THREAD = "thread"
    START = "start"
    HOURS = "hours"
    PATIENCE = "patience"
    MACHINES = "machines"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that changes, as a sentence."""

    part: Part
    sentence: str


@dataclass(frozen=True, slots=True)
class NodeDiff:
    """What becomes of one node; one that is added or removed has no differences."""

    node_id: str
    kind: Kind
    differences: tuple[Difference, ...] = ()

    @property
    def parts(self) -> frozenset[Part]:
        """Which of its parts change."""
        return frozenset(difference.part for difference in self.differences)


@dataclass(frozen=True, slots=True)
class PlanDiff:
    """What changes: for the plan as a whole, then for its nodes in the order of the plans."""

    plan: tuple[Difference, ...]
    nodes: tuple[NodeDiff, ...]

    @property
    def is_empty(self) -> bool:
        """Both plans mean the same, but for the order of their nodes."""
        return not self.plan and not self.nodes

    def sentences(self) -> list[str]:
        """Everything in words, a line each."""
        lines = [difference.sentence for difference in self.plan]
        for node in self.nodes:
            if node.kind is Kind.CHANGED:
                lines += [f"{node.node_id}: {d.sentence}" for d in node.differences]
            else:
                lines.append(f"{node.node_id} is {node.kind}.")
        return lines


def diff_plans(old: Plan, new: Plan) -> PlanDiff:
    """What makes `new` another plan than `old`."""
    before = {node.id: node for node in old.nodes}
    after = {node.id: node for node in new.nodes}
    nodes: list[NodeDiff] = []
    for node in old.nodes:
        if node.id not in after:
            nodes.append(NodeDiff(node.id, Kind.REMOVED))
        elif differences := tuple(_node_differences(node, after[node.id])):
            nodes.append(NodeDiff(node.id, Kind.CHANGED, differences))
    nodes += [NodeDiff(node.id, Kind.ADDED) for node in new.nodes if node.id not in before]
    return PlanDiff(tuple(_plan_differences(old, new)), tuple(nodes))


def _plan_differences(old: Plan, new: Plan) -> Iterator[Difference]:
    if old.start_node_id != new.start_node_id:
        yield _becomes(Part.START, "start node", old.start_node_id, new.start_node_id)
    if old.timezone != new.timezone:
        yield _becomes(Part.HOURS, "time zone", old.timezone, new.timezone)
    for name, was, now in (
        ("quiet time", old.quiet_hours, new.quiet_hours),
        ("send window", old.send_window, new.send_window),
    ):
        if was != now:
            yield _becomes(Part.HOURS, name, _fields(was), _fields(now))
    if old.idle_after != new.idle_after:
        yield _becomes(Part.PATIENCE, "time without any event", old.idle_after, new.idle_after)
    if old.count_machine_events != new.count_machine_events:
        verb = "count" if new.count_machine_events else "no longer count"
        yield Difference(Part.MACHINES, f"Opens and clicks by machines {verb}.")


def _node_differences(old: Node, new: Node) -> Iterator[Difference]:
    if old.action != new.action:
        yield _becomes(Part.ACTION, "action", old.action, new.action)
    yield from _word_differences(old, new, "")
    if old.schedule.delay != new.schedule.delay:
        yield _becomes(Part.DELAY, "delay", old.schedule.delay, new.schedule.delay)
    yield from _variant_differences(old.variants, new.variants)
    if old.sender_identity_id != new.sender_identity_id:
        campaign = "the campaign's"
        was, now = old.sender_identity_id or campaign, new.sender_identity_id or campaign
        yield _becomes(Part.SENDER, "sender", was, now)
    if old.personalize != new.personalize:
        yield Difference(Part.PERSONALIZE, "What a language model is asked for changes.")
    if old.reply_in_thread != new.reply_in_thread:
        where = "as a reply to the last mail" if new.reply_in_thread else "as a mail of its own"
        yield Difference(Part.THREAD, f"It goes out {where}.")
    yield from _transition_differences(old.transitions, new.transitions)


def _word_differences(
    old: Node | Variant, new: Node | Variant, of: str, part: Part = Part.WORDS
) -> Iterator[Difference]:
    if old.subject != new.subject:
        yield _becomes(part, f"subject{of}", _quoted(old.subject), _quoted(new.subject))
    for name, was, now in (
        ("text", old.body, new.body),
        ("HTML part", old.body_html, new.body_html),
    ):
        if was != now:
            yield _becomes(part, f"{name}{of}", _length(was), _length(now))


def _variant_differences(
    old: tuple[Variant, ...], new: tuple[Variant, ...]
) -> Iterator[Difference]:
    before = {variant.id: variant for variant in old}
    after = {variant.id: variant for variant in new}
    for variant in old:
        now = after.get(variant.id)
        if now is None:
            yield Difference(Part.VARIANTS, f"Variant {variant.id} is removed.")
            continue
        of = f" of variant {variant.id}"
        yield from _word_differences(variant, now, of, Part.VARIANTS)
        if variant.weight != now.weight:
            yield _becomes(Part.VARIANTS, f"weight{of}", variant.weight, now.weight)
    for variant in new:
        if variant.id not in before:
            sentence = f"Variant {variant.id} is added, with weight {variant.weight}."
            yield Difference(Part.VARIANTS, sentence)
    yield from _order(Part.VARIANTS, "variants", before, after)


def _transition_differences(
    old: tuple[Transition, ...], new: tuple[Transition, ...]
) -> Iterator[Difference]:
    before, after = [_said(one) for one in old], [_said(one) for one in new]
    gone, come = Counter(before) - Counter(after), Counter(after) - Counter(before)
    for said in gone.elements():
        yield Difference(Part.TRANSITIONS, f'"{said}" is removed.')
    for said in come.elements():
        yield Difference(Part.TRANSITIONS, f'"{said}" is added.')
    if (gone or come) and _first(before, after) == _first(after, before):
        return
    if before != after:
        yield Difference(Part.TRANSITIONS, "The transitions are in another order.")


def _first(said: list[str], other: list[str]) -> list[str]:
    """What both say, in the order in which it is said first here."""
    return [one for one in dict.fromkeys(said) if one in other]


def _order(
    part: Part, name: str, before: Mapping[str, object], after: Mapping[str, object]
) -> Iterator[Difference]:
    if [one for one in before if one in after] != [one for one in after if one in before]:
        yield Difference(part, f"The {name} are in another order.")


def _said(transition: Transition) -> str:
    """A transition as a person says it: on no_open go to bump, after PT72H."""
    said = f"on {transition.on} go to {transition.to}"
    if transition.is_timer:
        return f"{said}, after {transition.wait}"
    return said if transition.within is None else f"{said}, within {transition.within}"


def _becomes(part: Part, name: str, was: object, now: object) -> Difference:
    return Difference(part, f"The {name} changes from {was} to {now}.")


def _quoted(text: str | None) -> str:
    if text is None:
        return "none"
    return f'"{text}"' if len(text) <= SHOWN_MAX else f'"{text[: SHOWN_MAX - 1]}…"'


def _length(text: str | None) -> str:
    """Long words by their length and a mark that tells one wording from another."""
    if text is None:
        return "none"
    mark = sha256(text.encode()).hexdigest()[:8]
    return f"{len(text):,} characters ({mark})"


def _fields(value: Model | None) -> str:
    """An object's fields as a plan writes them, in one line."""
    return "none" if value is None else value.model_dump_json(exclude_none=True)
