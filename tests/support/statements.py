"""How many statements a piece of work sends, to hold that it does not grow with the batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from psycopg import AsyncCursor


@contextmanager
def counted_statements() -> Iterator[list[str]]:
    """The statements that cursors execute meanwhile, in order; a connection's go through one."""
    seen: list[str] = []
    execute = AsyncCursor.execute

    async def counting(self: AsyncCursor[Any], query: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(str(query))
        return await execute(self, query, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AsyncCursor, "execute", counting)
        yield seen
