"""The two functions that count tokens say what a list of all that was taken says."""

from __future__ import annotations

import random

import pytest

from outreach.db import Database

LIVE = 63  # sub-buckets in which a token of the minute counts


@pytest.mark.parametrize("seed", range(4))
async def test_a_counter_counts_what_was_taken(db: Database, seed: int) -> None:
    luck = random.Random(seed)
    taken: list[tuple[int, int]] = []
    bucket_at: list[int] = []
    bucket_used: list[int] = []
    now = 1_000
    longest = 0
    async with db.connection() as connection:
        for _ in range(400):
            # Mostly on, sometimes far, now and then back as after a clock that was set.
            now += luck.choice([0, 0, 1, 1, 1, 2, 3, -2, 90 if luck.random() < 0.02 else 1])
            count = luck.randint(1, 9)
            taken.append((now, count))
            row = await (
                await connection.execute(
                    "select t.bucket_at, t.bucket_used,"
                    " live_tokens(t.bucket_at, t.bucket_used, %(since)s)"
                    " from add_tokens(%(at)s::int[], %(used)s::int[], %(now)s, %(count)s,"
                    "  %(since)s) t",
                    {
                        "at": bucket_at,
                        "used": bucket_used,
                        "now": now,
                        "count": count,
                        "since": now - LIVE,
                    },
                )
            ).fetchone()
            assert row is not None
            bucket_at, bucket_used, live = row
            assert bucket_at == sorted(set(bucket_at))
            assert live == sum(n for at, n in taken if at > now - LIVE)
            longest = max(longest, len(bucket_at))
    assert longest <= 128, "the dead are dropped before they are many"
