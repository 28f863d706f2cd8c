"""Where enrollments stand after their plan has changed: on their node, on another one, or nowhere.

A node that is gone, or does something else than before, cannot be stood on any more. Who stands on
one needs a mapping to a node that does the same, or to `stop`. The mapping carries the standing
over: what was sent there counts as sent here, and nothing is entered anew, so nobody is written to
twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from outreach.core.errors import Problem
from outreach.core.plan import STOP, Plan


@dataclass(frozen=True, slots=True)
class NodeCount:
    """The live enrollments that stand on one node, and what is open for them."""

    node_id: str | None  # None: not launched yet
    enrollments: int
    sends: int  # pending, and not in the ledger
    on_the_way: int  # messages in the ledger whose step has not ended
    timers: int


def vanished_nodes(old: Plan, new: Plan) -> list[str]:
    """Nodes of the old plan on which nobody can stand in the new one, in the old plan's order."""
    actions = {node.id: node.action for node in new.nodes}
    return [node.id for node in old.nodes if actions.get(node.id) != node.action]


def mapping_problems(old: Plan, new: Plan, mapping: Mapping[str, str]) -> list[Problem]:
    """What is wrong with a mapping whoever stands where, every problem at once."""
    before = {node.id: node.action for node in old.nodes}
    after = {node.id: node.action for node in new.nodes}
    vanished = set(vanished_nodes(old, new))
    problems: list[Problem] = []
    for source, target in mapping.items():
        place = f"map.{source}"
        if source not in before:
            problems.append(Problem(place, f"The old plan has no node {source}."))
        elif source not in vanished:
            problems.append(Problem(place, f"{source} is in the new plan; who is there stays."))
        elif target == STOP:
            continue
        elif target not in after:
            problems.append(Problem(place, f"The new plan has no node {target}."))
        elif before[source] != after[target]:
            problems.append(
                Problem(
                    place,
                    f"{source} is a {before[source]} node and {target} is a {after[target]} node;"
                    f" map it to a {before[source]} node, or to {STOP}.",
                )
            )
    return problems


def unmapped(
    old: Plan, new: Plan, mapping: Mapping[str, str], counts: Iterable[NodeCount]
) -> list[NodeCount]:
    """The vanished nodes on which somebody stands and for which the mapping says nothing."""
    homeless = set(vanished_nodes(old, new)) - mapping.keys()
    return [one for one in counts if one.node_id in homeless and one.enrollments]


def busy(old: Plan, new: Plan, counts: Iterable[NodeCount]) -> list[NodeCount]:
    """The vanished nodes whose messages are on the way: their outcome belongs to that node."""
    vanished = set(vanished_nodes(old, new))
    return [one for one in counts if one.node_id in vanished and one.on_the_way]


def unmapped_problems(counts: Iterable[NodeCount]) -> list[Problem]:
    """A sentence for each node that still needs a mapping."""
    return [
        Problem(
            f"map.{one.node_id}",
            f"{one.enrollments:,} live enrollment{'s' if one.enrollments > 1 else ''} on"
            f" {one.node_id}, which is not in the new plan as it was;"
            f" say where with --map {one.node_id}=NODE, or ={STOP}.",
        )
        for one in counts
    ]


def retimed_nodes(old: Plan, new: Plan) -> list[str]:
    """Kept nodes whose running timers are set anew: they, or what all timers go by, have changed.

    A timer that is kept would fire by the old plan's clock into the new plan's transitions.
    """
    kept = {node.id for node in old.nodes} - set(vanished_nodes(old, new))
    is_everywhere = _clock(old) != _clock(new)
    return [
        node.id
        for node in new.nodes
        if node.id in kept and (is_everywhere or node.transitions != old.node(node.id).transitions)
    ]


def _clock(plan: Plan) -> tuple[object, ...]:
    """What every timer of a plan goes by: its patience, its zone, whom it listens to."""
    zone = None if plan.send_window is None else plan.send_window.zone
    return plan.idle_after, plan.timezone, zone, plan.count_machine_events
