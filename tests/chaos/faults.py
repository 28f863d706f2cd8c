"""Every fault by its name, and how often it is chosen."""

from __future__ import annotations

from dataclasses import dataclass

from tests.chaos import database, pooler, processes, provider, server, workers
from tests.chaos.lane import Trial


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of trial, and how often it is chosen; kills of a server are few."""

    run: Trial
    weight: int
    kills_server: bool = False


FAULTS: dict[str, Fault] = {
    "worker: kill -9 at a point": Fault(workers.killed_at_points, 20),
    "worker: kill -9 at any moment": Fault(workers.killed_at_any_moment, 12),
    "worker: one of two killed": Fault(workers.one_of_two_killed, 8),
    "worker: frozen past its lease": Fault(workers.frozen, 6),
    "worker process: killed beside another": Fault(processes.killed_beside_another, 4),
    "worker process: told to stop": Fault(processes.told_to_stop, 3),
    "worker process: told twice": Fault(processes.told_twice, 2),
    "worker process: told while the provider hangs": Fault(
        processes.told_to_stop_while_provider_hangs, 2
    ),
    "queue: forgets or doubles": Fault(processes.queue_forgets, 3),
    "provider: silent": Fault(provider.silent, 3),
    "provider: breaking off": Fault(provider.breaking_off, 5),
    "provider: 5xx": Fault(provider.failing, 5),
    "provider: unreadable": Fault(provider.unreadable, 4),
    "provider: 429": Fault(provider.later, 3),
    "network: to the provider": Fault(provider.far_away, 5),
    "network: to the database": Fault(database.bad_line, 5),
    "network: lost at a commit": Fault(database.lost_at_commit, 8),
    "database: errors injected": Fault(database.injected_errors, 4),
    "database: deadlocks": Fault(database.deadlocks, 3),
    "database: sessions ended": Fault(database.sessions_ended, 4),
    "database: statements canceled": Fault(database.statements_canceled, 3),
    "database: no connection to spare": Fault(database.no_room, 3),
    "pooler: workers killed behind it": Fault(pooler.killed_behind_it, 3),
    "pooler: sessions ended behind it": Fault(pooler.sessions_ended, 2),
    "server: kill -9": Fault(server.killed, 5, kills_server=True),
    "server: immediate shutdown": Fault(server.immediate, 3),
    "server: fast restart": Fault(server.fast, 3),
    "server: a session killed": Fault(server.session_killed, 3),
    "server: disk full": Fault(server.full_disk, 1),
    "server: disk of the log full": Fault(server.full_log, 1),
}

CONTROL = "control: resends what is unknown"
resending = workers.resending
