"""Whether a database may have forgotten mail that went out: the judgement, from what can be seen.

The idea: a database that was restored or rewound never says so itself, but it cannot hide that it
runs anew. So each new run of the server, and each other database, is looked at once before anything
is sent, and compared with what workers remember outside of it. Replication and recovery keep a
prefix of what was committed: a database that has a worker's last pulse has all that came before.

- Another cluster or another database was made from a copy: held.
- Whatever a worker remembers and the database does not is proof of a loss: held.
- The same timeline, and nobody misses anything: a restart, which goes on.
- A later timeline is a promotion, or a recovery to a point in time. It goes on when a worker that
  lived through it misses nothing, as every other one that was alive then; else it is held.

Source: the project's reliability research, I9, F24 and F25 (2026-11-24); PostgreSQL 15 to 18.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

# A restart is believed when nobody has objected for so long.
OBJECTION_SECONDS = 5.0
# A promotion is held when its proof is not whole by then.
PROOF_SECONDS = 15.0
# Whoever has not seen the database for longer is no witness of what it did last.
WITNESS_SECONDS_MAX = 120.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Which run of which server this is, and which database of it."""

    system_identifier: int
    database: int
    timeline: int
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the workers' memories say of the present database."""

    missing: int = 0  # pulses and attempts that are remembered outside and not found in it
    unproven: int = 0  # workers that were alive at its last moment and have not looked yet
    is_witness: bool = False  # we saw it shortly before, and miss nothing
    is_announced: bool = False  # an operator expects a failover about now
    waited_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Open:
    """Nothing is missing; `because` says why that is believed."""

    because: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Others may still object, or prove it."""


@dataclass(frozen=True, slots=True)
class Held:
    """It may have forgotten something: a person must look."""

    reason: str


Verdict = Open | Wait | Held


def judge(approved: Identity | None, present: Identity, evidence: Evidence) -> Verdict:
    """Whether the present run may send; `approved` is the run that was looked at last."""
    if approved is None:  # a copy of a time before the first worker is none the less a copy
        return Held("sends_missing") if evidence.missing else Open("first_run")
    if present.system_identifier != approved.system_identifier:
        return Held("system_changed")
    if present.database != approved.database:
        return Held("database_changed")
    if evidence.missing:
        return Held("sends_missing")
    if present.timeline < approved.timeline:
        return Held("timeline_went_back")
    if present.timeline > approved.timeline:
        return _promoted(evidence)
    if present.started_at == approved.started_at:
        return Open("same_run")
    if not evidence.unproven or evidence.waited_seconds >= OBJECTION_SECONDS:
        return Open("restart")
    return Wait()


def _promoted(evidence: Evidence) -> Verdict:
    if evidence.is_witness and not evidence.unproven:
        return Open("failover_without_loss")
    if evidence.is_announced and evidence.waited_seconds >= OBJECTION_SECONDS:
        return Open("failover_announced")
    if evidence.waited_seconds >= PROOF_SECONDS:
        return Held("timeline_changed")
    return Wait()
