"""`outreach messages` as scripts see it: output, exit codes, sentences."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

import pytest

from outreach.db import Database
from tests.cli.commands import answer, outreach, refusal
from tests.support.factories import Message, run
from tests.support.unknowns import HOUR, unknown


@pytest.fixture
def message(conninfo: str, monkeypatch: pytest.MonkeyPatch) -> Message:
    """A message of tenant `acme` of which nobody knows."""

    async def prepare() -> Message:
        async with Database.at(conninfo) as db:
            made = await unknown(db, HOUR)
            await run(db, "update tenants set slug = 'acme'")
            return made

    made = asyncio.run(prepare())
    monkeypatch.setenv("DATABASE_URL", conninfo)
    monkeypatch.delenv("DATABASE_DIRECT_URL", raising=False)
    return made


def test_one_is_found_shown_and_settled(message: Message) -> None:
    of, id_ = ("--tenant", "acme"), str(message.id)
    (listed,) = answer("messages", "list", *of, "--state", "unknown")["data"]
    assert listed["id"] == id_
    assert listed["policy"] == "at_most_once"

    words = ("messages", "settle", id_, *of, "--not-sent", "--resend", "--reason", "They say no.")
    assert answer(*words) == {"id": id_, "state": "waiting_retry"}

    shown = answer("messages", "show", id_, *of)
    assert (shown["id"], shown["state"]) == (id_, "waiting_retry")
    assert [one["outcome"] for one in shown["attempts"]] == ["not_sent"]
    (said,) = shown["evidence"]
    assert (said["source"], said["says"], said["detail"]["reason"]) == (
        "person",
        "not_sent",
        "They say no.",
    )
    assert shown["incidents"] == []
    assert answer("messages", "list", *of) == {"data": []}
    assert "waiting_retry" in outreach("messages", "show", id_, *of).stdout
    assert "is unknown" not in refusal(*words, code=1)


@pytest.mark.parametrize(
    "options",
    [(), ("--sent", "--abandon"), ("--sent", "--resend"), ("--resend",), ("--not-sent", "--sent")],
)
def test_a_word_is_one_word(message: Message, options: tuple[str, ...]) -> None:
    words = ("messages", "settle", str(message.id), "--tenant", "acme", "--reason", "r", *options)
    refusal(*words, code=2)


def test_what_is_not_there_is_said_so(message: Message, tmp_path: Path) -> None:
    for id_ in (str(UUID(int=3)), "nonsense"):
        assert "no message" in refusal("messages", "show", id_, "--tenant", "acme", code=2)
        words = ("messages", "settle", id_, "--tenant", "acme", "--sent", "--reason", "r")
        assert "no message" in refusal(*words, code=2)
    assert "no tenant" in refusal("messages", "list", "--tenant", "other", code=2)
