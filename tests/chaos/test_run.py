"""The runner: the same trials for a seed, on where it ended, and a table that tells the truth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.result import Result, percentile, table
from tests.chaos.run import SERVER_KILLS_MAX, Plan, plans, read_progress, run_all


def test_a_seed_says_which_trials_there_are() -> None:
    assert plans(1, 300) == plans(1, 300)
    assert plans(1, 300) != plans(2, 300)
    assert {plan.fault for plan in plans(1, len(FAULTS))} == set(FAULTS), "each at least once"
    assert plans(1, 100) == plans(1, 300)[:100], "more trials begin with the same ones"


def test_servers_are_killed_so_often_and_no_more() -> None:
    kills = [plan for plan in plans(3, 20_000) if FAULTS[plan.fault].kills_server]
    assert len(kills) == SERVER_KILLS_MAX


def test_a_name_that_nobody_has_is_refused() -> None:
    with pytest.raises(SystemExit, match="No fault is named"):
        plans(1, 10, "earthquake")


async def test_a_run_goes_on_where_one_ended(tmp_path: Path) -> None:
    progress = tmp_path / "1.jsonl"
    wanted = [Plan(number, "worker: kill -9 at a point") for number in range(3)]
    lines = [json.dumps(Result(plan.number, plan.fault, mails=7).as_json()) for plan in wanted]
    progress.write_text("\n".join(lines) + "\n" + lines[0][:20])
    results = await run_all(wanted, seed=1, lanes=2, progress=progress)
    assert [results[number].mails for number in range(3)] == [7, 7, 7], "nothing was run again"
    assert set(read_progress(progress)) == {0, 1, 2}, "the line that was cut is left out"


def test_the_table_counts_by_fault_and_in_all() -> None:
    good = Result(0, "a", kills=2, mails=30, unknown_before=1, worker_back=[0.2, 0.4])
    bad = Result(1, "b", mails=20)
    bad.note(["accepted 2 times: x", "sent, but never accepted: y", "a window of 60 s", "else"])
    away = Result(2, "c", did_not_run="there is no pooler")
    head, *rows = table([good, bad, away]).splitlines()
    assert head.split()[:5] == ["fault", "trials", "bad", "mails", "kills"]
    cells = {row.split()[0]: row.split()[1:] for row in rows}
    assert cells["a"][:4] == ["1", "0", "30", "2"]
    assert cells["a"][9] == "0.50"
    assert cells["a"][-4:] == ["0.20", "s", "0.40", "s"]
    assert cells["b"][:8] == ["1", "1", "20", "0", "1", "1", "1", "1"]
    assert cells["c"][0] == "0"
    assert cells["all"][:4] == ["2", "1", "50", "2"]
    assert percentile([], 0.5) is None
