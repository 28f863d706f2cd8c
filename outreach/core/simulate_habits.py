"""What readers are assumed to do with a mail, and when: the made-up world of a simulation.

A share is of mails that arrive, but for two: `bounced` is of addresses (one that has taken a mail
exists, and takes the next) and `blocked` of mails that are tried. One number decides about opening
and clicking, so that whoever clicks has opened wherever more people open than click. Replies and
the rest are drawn apart. Chance is handed in: the same numbers make the same readers.

Source of the delays: opens and replies have a long tail (half within hours, a few after days), for
which the log-logistic curve is the simplest that can be drawn from one number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from outreach.core.errors import Invalid, Problem
from outreach.core.plan import Trigger

DELAY_SECONDS_MAX = 30 * 86_400.0

# In the words of `--assume`; a plain business list that has been mailed before.
SHARES: Mapping[str, float] = {
    "opened": 0.35,
    "clicked": 0.07,
    "replied": 0.03,
    "bounced": 0.02,
    "blocked": 0.01,
    "unsubscribed": 0.01,
    "spam_report": 0.001,
    "machine_opened": 0.15,  # of addresses: a proxy fetches every image at once
    "same_domain": 0.0,  # of contacts: those at the one domain where most of them are
}


class Chance(Protocol):
    """Where numbers come from; `random.Random` is one."""

    def random(self) -> float:
        """From 0 to under 1."""


@dataclass(frozen=True, slots=True)
class LongTail:
    """Half within the median; the greater the spread, the later the last (log-logistic)."""

    median_seconds: float
    spread: float = 1.0

    def draw(self, chance: Chance) -> float:
        """Seconds."""
        number = chance.random()
        odds = number / (1.0 - number)
        return float(min(self.median_seconds * odds**self.spread, DELAY_SECONDS_MAX))


@dataclass(frozen=True, slots=True)
class Between:
    """Anything from the least to the most alike."""

    least_seconds: float
    most_seconds: float

    def draw(self, chance: Chance) -> float:
        """Seconds."""
        return self.least_seconds + (self.most_seconds - self.least_seconds) * chance.random()


Delay = LongTail | Between


@dataclass(frozen=True, slots=True)
class Delays:
    """How long each thing takes: after acceptance, a click after its open, the rest on arrival."""

    arrives: Delay = Between(2.0, 20.0)
    machine_opens: Delay = LongTail(30.0)
    opens: Delay = LongTail(2 * 3600.0)
    clicks: Delay = LongTail(60.0)
    replies: Delay = LongTail(6 * 3600.0)
    leaves: Delay = LongTail(4 * 3600.0)  # unsubscribes, or reports spam


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that becomes of a mail, so long after the provider accepted it."""

    what: Trigger
    after_seconds: float
    is_machine: bool = False


# Of a contact, by its number, its nth mail: what becomes of it.
Fates = Callable[[int, int], Sequence[Happening]]


@dataclass(frozen=True, slots=True)
class Habits:
    """The assumptions of one simulation."""

    shares: Mapping[str, float] = field(default_factory=lambda: SHARES)
    delays: Delays = Delays()

    def fates(self, chance: Chance) -> Fates:
        """Draw what becomes of each mail; `chance` is used up in the order of asking."""
        machines: set[int] = set()

        def fate(contact: int, nth: int) -> Sequence[Happening]:
            if nth == 1 and chance.random() < self.shares["machine_opened"]:
                machines.add(contact)
            return self._fate(chance, is_first=nth == 1, has_machine=contact in machines)

        return fate

    def _fate(self, chance: Chance, *, is_first: bool, has_machine: bool) -> list[Happening]:
        shares, delays = self.shares, self.delays
        arrives = delays.arrives.draw(chance)
        if is_first and chance.random() < shares["bounced"]:
            return [Happening(Trigger.BOUNCED, arrives)]
        if chance.random() < shares["blocked"]:
            return [Happening(Trigger.BLOCKED, arrives)]
        story = [Happening(Trigger.DELIVERED, arrives), *self._read(chance, arrives)]
        if has_machine:
            at = arrives + delays.machine_opens.draw(chance)
            story.append(Happening(Trigger.OPENED, at, is_machine=True))
        for what in (Trigger.SPAM_REPORT, Trigger.UNSUBSCRIBED):
            if chance.random() < shares[what.value]:
                story.append(Happening(what, arrives + delays.leaves.draw(chance)))
                break
        if chance.random() < shares["replied"]:
            story.append(Happening(Trigger.REPLIED, arrives + delays.replies.draw(chance)))
        return story

    def _read(self, chance: Chance, arrived: float) -> list[Happening]:
        """Open, click, both (the click after the open) or nothing."""
        number = chance.random()
        opens, clicks = number < self.shares["opened"], number < self.shares["clicked"]
        if not opens and not clicks:
            return []
        at = arrived + self.delays.opens.draw(chance)
        story = [Happening(Trigger.OPENED, at)] if opens else []
        if clicks:
            story.append(Happening(Trigger.CLICKED, at + self.delays.clicks.draw(chance)))
        return story


def read_shares(words: Iterable[str], known: Mapping[str, float] = SHARES) -> dict[str, float]:
    """`opened=0.4` and the like over what is known; Invalid with every word that is wrong."""
    shares, problems = dict(known), []
    for word in words:
        name, sign, text = word.partition("=")
        name = name.strip()
        value = _number(text)
        path = f"$.assume.{name[:40]}"
        if name not in SHARES:
            text = f"There is no assumption {name[:40]!r}; known are {', '.join(SHARES)}."
            problems.append(Problem("$.assume", text))
        elif not sign or value is None:
            problems.append(Problem(path, f"Write a share as a number, such as {name}=0.4."))
        elif not 0.0 <= value <= 1.0:
            problems.append(Problem(path, f"{text.strip()[:40]} is not a share from 0 to 1."))
        else:
            shares[name] = value
    if problems:
        raise Invalid(problems)
    return shares


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
