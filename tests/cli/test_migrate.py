"""`outreach migrate` as scripts see it."""

from __future__ import annotations

import json

import pytest

from tests.cli.commands import answer, outreach, refusal


def test_from_nothing_to_the_head_and_back(
    empty_conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_conninfo)
    monkeypatch.delenv("DATABASE_DIRECT_URL", raising=False)
    behind = outreach("migrate", "--check", "--json")
    assert (behind.exit_code, json.loads(behind.stdout)["is_current"]) == (4, False)
    assert "outreach migrate" in refusal("tenants", "list", code=4)
    first = answer("migrate", "--to", "0001.roles")
    assert first == {"applied": ["0001.roles"], "head": "0001.roles"}
    rest = answer("migrate")
    assert rest["applied"][0] == "0002.tenants"
    assert rest["applied"][-1] == rest["head"]
    assert answer("migrate") == {"applied": [], "head": rest["head"]}
    assert answer("migrate", "--check")["is_current"] is True
    back = answer("migrate", "--rollback", "0001.roles")
    assert (back["rolled_back"][-1], back["head"]) == ("0002.tenants", "0001.roles")
    assert answer("migrate", "--rollback", "0")["head"] is None


def test_wrong_words_are_two(conninfo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", conninfo)
    assert outreach("migrate", "--check", "--rollback", "0").exit_code == 2
    assert refusal("migrate", "--to", "nonsense", code=2)
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.delenv("DATABASE_DIRECT_URL", raising=False)
    assert "DATABASE_URL" in refusal("migrate", code=2)
