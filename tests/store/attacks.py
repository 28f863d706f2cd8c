"""What the schema itself promises, as attacks: each is refused by one guard, and by that one alone.

An attack is one statement against the rows of tests/house/one_of_each.sql (tenant `t`; `o` is
another tenant that has the same). `prepare` brings the rows to where the attack begins. Where a
guard stands behind another, `prepare` takes away the one in front, and says so.

Checks are named by a piece of their definition, because their names are given by counting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString


@dataclass(frozen=True, slots=True)
class Attack:
    """A statement that must not succeed, and what alone stands in its way."""

    invariant: str  # of facts on reliability (I1 to I14), or in a word
    table: str
    guard: str  # a trigger's or an index's name, or a piece of a constraint's definition
    statement: LiteralString
    prepare: tuple[LiteralString, ...] = ()
    refused_by: str | None = None  # what the refusal of a trigger is called
    breaks: LiteralString | None = (
        None  # where nothing is refused but put right: what then is wrong
    )

    def __str__(self) -> str:
        return f"{self.invariant}: {self.table} {self.guard}"
