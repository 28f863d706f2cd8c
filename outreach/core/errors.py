"""The five ways in which Outreach says no, and nothing else.

    OutreachError
    ├── Invalid(problems)                     the caller's data; each problem: a path, a sentence
    ├── NotFound(kind, key)                   no such thing, or another tenant's
    ├── Conflict(kind, key, expected, actual) an illegal move, or a stale version
    ├── Refused(rule, subject)                policy says no: unverified sender, no postal address
    └── Unavailable(what, retry_after_seconds) a service is away; the same call may succeed later

Bugs are assertions. What a provider answers is a value (`core.outcome`), not an error. Only
`web/errors.py` knows status codes and only `cli/` knows exit codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in somebody's data: where (a JSONPath) and what, as a sentence."""

    path: str
    message: str


class OutreachError(Exception):
    """The root: whatever a caller may be told."""


class Invalid(OutreachError):
    """The caller's data is wrong; every problem found is listed."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        assert problems, "an Invalid names at least one problem"
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{p.path}: {p.message}" for p in self.problems))

    @classmethod
    def at(cls, path: str, message: str) -> Invalid:
        """A single problem."""
        return cls([Problem(path, message)])


class NotFound(OutreachError):
    """There is no such thing for this caller."""

    def __init__(self, kind: str, key: object) -> None:
        self.kind = kind
        self.key = str(key)
        super().__init__(f"There is no {kind} {self.key}.")


class Conflict(OutreachError):
    """The thing is not in a state that allows this."""

    def __init__(self, kind: str, key: object, *, expected: str, actual: str) -> None:
        self.kind = kind
        self.key = str(key)
        self.expected = expected
        self.actual = actual
        super().__init__(f"The {kind} {self.key} is {actual}; this needs it to be {expected}.")


class Refused(OutreachError):
    """A rule forbids it; `rule` is a code of the catalogue, the message is for people."""

    def __init__(self, rule: str, message: str, *, subject: object = "") -> None:
        self.rule = rule
        self.subject = str(subject)
        super().__init__(message)


class Unavailable(OutreachError):
    """Something that is needed does not answer now."""

    def __init__(self, what: str, retry_after_seconds: float | None = None) -> None:
        self.what = what
        self.retry_after_seconds = retry_after_seconds
        super().__init__(what)
