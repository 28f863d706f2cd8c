from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from outreach.config import Settings
from outreach.core.errors import Invalid, Refused
from outreach.db import Database
from outreach.tasks.startup import check_clock, check_schema, refuse_skew
from tests.support.workers import settings_for

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


async def test_a_current_schema_and_a_good_clock_are_taken(db: Database, conninfo: str) -> None:
    await check_schema(settings_for(conninfo))
    await check_clock(db)


async def test_a_schema_that_is_behind_is_refused(empty_conninfo: str) -> None:
    with pytest.raises(Refused, match="outreach migrate"):
        await check_schema(settings_for(empty_conninfo))


async def test_no_database_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "DATABASE_DIRECT_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Invalid, match="DATABASE_URL"):
        await check_schema(Settings())


@pytest.mark.parametrize("seconds", [-5, 0, 5])
def test_five_seconds_are_allowed(seconds: int) -> None:
    refuse_skew(NOW + timedelta(seconds=seconds), NOW, NOW)


@pytest.mark.parametrize("seconds", [-5.1, 5.1, 3600])
def test_more_are_refused(seconds: float) -> None:
    with pytest.raises(Refused, match="clocks"):
        refuse_skew(NOW + timedelta(seconds=seconds), NOW, NOW)


def test_a_slow_answer_is_no_skew() -> None:
    refuse_skew(NOW + timedelta(seconds=1), NOW, NOW + timedelta(seconds=20))
