"""The interpreter and the model of the language agree; `make model` leads a longer run."""

from __future__ import annotations

from tests.model.__main__ import lead
from tests.model.machine import Lives


def test_both_tell_the_same_lives() -> None:
    before = Lives.steps
    lead(20_261_124, lives=15)
    assert Lives.steps - before > 150
