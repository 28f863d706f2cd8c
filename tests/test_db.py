"""What counts as a lost connection, and what is somebody's refusal."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from outreach.db import is_connection_lost


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError("the connection is closed"),
        psycopg.InterfaceError("the connection is closed"),
        errors.AdminShutdown(),
        errors.IdleInTransactionSessionTimeout(),
        psycopg.InternalError("received 2 results from command 'BEGIN'"),
    ],
    ids=repr,
)
def test_a_lost_connection_is_known(error: psycopg.Error) -> None:
    assert is_connection_lost(error)


@pytest.mark.parametrize(
    "error", [errors.UniqueViolation(), errors.InternalError_(), errors.DataError()], ids=repr
)
def test_a_refusal_is_no_lost_connection(error: psycopg.Error) -> None:
    assert not is_connection_lost(error)
