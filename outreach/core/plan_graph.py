"""Where a plan can go: targets that do not exist, nodes never reached, loops that never rest.

A loop is allowed when going round it takes time. An edge takes time when it is a timer that runs
for more than nothing, when it enters a send node with a delay, or when it leaves a wait node on a
real event: an event that follows the message. Every other edge can fire as soon as its node is
entered: `delivered` back to the same send node would write again with each delivery. Wait nodes
among themselves are stricter, since a loop of them sends nothing and one event already stored may
satisfy all of them at once: only a timer rests there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from outreach.core.plan_json import Document, Location
from outreach.core.plan_model import STOP, SYNTHETIC
from outreach.core.plan_rules import Json, duration_of, nodes_of, objects, trigger_of


@dataclass(frozen=True, slots=True)
class Edge:
    """A transition between two nodes that exist."""

    source: str
    target: str
    place: Location
    is_timer_running: bool  # a timer of more than nothing
    is_event: bool


def check_graph(document: Document) -> None:
    """Report unknown targets, nodes that nothing leads to, loops in which nothing waits."""
    nodes: dict[str, Json] = {}
    places: dict[str, Location] = {}
    for index, node in nodes_of(document):
        node_id = node.get("id")
        if isinstance(node_id, str) and node_id not in nodes:
            nodes[node_id], places[node_id] = node, ("nodes", index)
    edges: dict[str, list[Edge]] = {
        node_id: list(_edges(document, node_id, places[node_id], nodes)) for node_id in nodes
    }
    start = document.data.get("start_node_id") if isinstance(document.data, dict) else None
    if isinstance(start, str) and nodes:
        if start in nodes:
            for node_id in _unreached(start, edges):
                document.report(
                    places[node_id], f"No way leads from {start} to {node_id}; it would never run."
                )
        else:
            document.report(("start_node_id",), f"There is no node {start[:80]}.")
    _check_loops(document, nodes, edges)


def _edges(
    document: Document, node_id: str, here: Location, nodes: dict[str, Json]
) -> Iterator[Edge]:
    for index, transition in objects(nodes[node_id].get("transitions")):
        place = (*here, "transitions", index, "to")
        target = transition.get("to")
        if not isinstance(target, str) or target == STOP:
            continue
        if target not in nodes:
            document.report(place, f"There is no node {target[:80]}; write a node's id or {STOP}.")
            continue
        trigger = trigger_of(transition)
        yield Edge(
            source=node_id,
            target=target,
            place=place,
            is_timer_running=trigger in SYNTHETIC and not _is_zero(transition.get("after")),
            is_event=trigger is not None and trigger not in SYNTHETIC,
        )


def _is_zero(value: object) -> bool:
    """A duration of nothing; one left out is its default, one misspelled is reported elsewhere."""
    duration = duration_of(value)
    return duration is not None and duration.is_zero


def _unreached(start: str, edges: dict[str, list[Edge]]) -> list[str]:
    reached, waiting = {start}, [start]
    while waiting:
        for edge in edges[waiting.pop()]:
            if edge.target not in reached:
                reached.add(edge.target)
                waiting.append(edge.target)
    return [node_id for node_id in edges if node_id not in reached]


def _check_loops(document: Document, nodes: dict[str, Json], edges: dict[str, list[Edge]]) -> None:
    waits = {node_id for node_id, node in nodes.items() if node.get("action") == "wait"}
    delayed = {node_id for node_id, node in nodes.items() if _has_delay(node)}

    def is_immediate(edge: Edge) -> bool:
        rests = edge.is_timer_running or edge.target in delayed
        return not rests and not (edge.is_event and edge.source in waits)

    def is_among_waits(edge: Edge) -> bool:
        return {edge.source, edge.target} <= waits and not edge.is_timer_running

    for follows in (is_immediate, is_among_waits):
        for edge, loop in _closing_edges(edges, follows):
            document.report(
                edge.place,
                f"This closes a loop in which nothing waits ({' → '.join(loop)}); let a timer "
                "(no_open, no_click, no_reply), a delay or a wait for an event lie in it.",
            )


def _has_delay(node: Json) -> bool:
    schedule = node.get("schedule")
    delay = schedule.get("delay") if isinstance(schedule, dict) else None
    return delay is not None and node.get("action") == "send" and not _is_zero(delay)


def _closing_edges(
    edges: dict[str, list[Edge]], follows: Callable[[Edge], bool]
) -> Iterator[tuple[Edge, list[str]]]:
    """The edges that close a loop of followed edges; without them there is none.

    A depth-first walk in plan order, with its own stack since plans come from outside.
    """
    done: set[str] = set()
    for root in edges:
        path: list[str] = []
        stack: list[tuple[str, Iterator[Edge]]] = []
        if root not in done:
            path.append(root)
            stack.append((root, iter(edges[root])))
        while stack:
            node_id, remaining = stack[-1]
            edge = next((edge for edge in remaining if follows(edge)), None)
            if edge is None:
                done.add(node_id)
                path.pop()
                stack.pop()
            elif edge.target in path:
                yield edge, [*path[path.index(edge.target) :], edge.target]
            elif edge.target not in done:
                path.append(edge.target)
                stack.append((edge.target, iter(edges[edge.target])))
