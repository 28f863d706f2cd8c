"""Decides what becomes of a mail: a pure function of seed, address and how many mails it got.

Each question (does it bounce, when is it opened) draws its own number by hashing the seed, the
address, the count and the question's name. So one rate can be changed without changing the answers
to the others, and neither the order of requests nor the time of day plays a part.
"""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

from outreach.dev.sandbox.settings import FateRates


class Happening(StrEnum):
    """What SendGrid reports; the two kinds of bounce and of open are told apart here."""

    PROCESSED = "processed"
    DROPPED = "dropped"
    DEFERRED = "deferred"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    BLOCKED = "blocked"
    OPENED = "opened"
    OPENED_BY_MACHINE = "opened_by_machine"
    CLICKED = "clicked"
    UNSUBSCRIBED = "unsubscribed"
    REPORTED_SPAM = "reported_spam"


class Suppressed(StrEnum):
    """Why SendGrid drops later mails to an address, in its own words."""

    BOUNCED = "Bounced Address"
    UNSUBSCRIBED = "Unsubscribed Address"
    SPAM = "Spam Reporting Address"


@dataclass(frozen=True, slots=True)
class Step:
    """One event of a mail's story; times count from acceptance, in units of `time_scale`."""

    number: int
    what: Happening
    happens_after: float
    posted_after: tuple[float, ...]
    """When it is posted: later than it happened when in disorder, twice when repeated."""


@dataclass(frozen=True, slots=True)
class Fate:
    steps: tuple[Step, ...]
    suppresses: Suppressed | None
    """What this mail's story does to later mails for the address."""


class _Dice:
    """The numbers of one mail to one address."""

    def __init__(self, seed: int, address: str, nth: int) -> None:
        self._address = f"{seed}\0{address.strip().lower()}\0"
        self._mail = f"{self._address}{nth}\0"

    def mail(self, question: str) -> float:
        """From 0 to under 1; another for each mail."""
        return _uniform(self._mail + question)

    def address(self, question: str) -> float:
        """From 0 to under 1; the same for every mail to the address."""
        return _uniform(self._address + question)

    def between(self, question: str, low: float, high: float) -> float:
        return low + (high - low) * self.mail(question)


def _uniform(text: str) -> float:
    digest = blake2b(text.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) * 2.0**-53


def fate_of(
    seed: int, address: str, nth: int, rates: FateRates, suppressed: Suppressed | None = None
) -> Fate:
    """The story of the nth mail (from 1) to an address; `suppressed` is what earlier ones did."""
    dice = _Dice(seed, address, nth)
    if suppressed is not None:
        return Fate(_steps(dice, rates, [(Happening.DROPPED, 0.0)]), suppressed)
    story = [(Happening.PROCESSED, dice.between("processed at", 0.0, 0.2))]
    arrives = dice.between("arrives at", 0.5, 2.0)
    if dice.address("bounce") < rates.bounce:
        story.append((Happening.BOUNCED, arrives))
        return Fate(_steps(dice, rates, story), Suppressed.BOUNCED)
    if dice.mail("block") < rates.block:
        story.append((Happening.BLOCKED, arrives))
        return Fate(_steps(dice, rates, story), None)
    if dice.mail("defer") < rates.defer:
        story.append((Happening.DEFERRED, arrives))
        arrives += dice.between("second try at", 2.0, 6.0)
        if dice.mail("defer for good") < 0.1:
            story.append((Happening.BLOCKED, arrives))
            return Fate(_steps(dice, rates, story), None)
    story.append((Happening.DELIVERED, arrives))
    after, suppresses = _after_delivery(dice, rates, arrives)
    return Fate(_steps(dice, rates, story + after), suppresses)


def _after_delivery(
    dice: _Dice, rates: FateRates, arrived: float
) -> tuple[list[tuple[Happening, float]], Suppressed | None]:
    """What machines and people do with a mail that arrived."""
    story = []
    if dice.address("machine open") < rates.machine_open:
        at = arrived + dice.between("machine opens at", 0.2, 1.5)
        story.append((Happening.OPENED_BY_MACHINE, at))
    if dice.mail("open") < rates.open:
        at = arrived + dice.between("opens at", 1.0, 8.0)
        story.append((Happening.OPENED, at))
        if dice.mail("click") < rates.click:
            story.append((Happening.CLICKED, at + dice.between("clicks at", 0.5, 4.0)))
    leaves = arrived + dice.between("leaves at", 2.0, 12.0)
    if dice.mail("spam") < rates.spam:
        story.append((Happening.REPORTED_SPAM, leaves))
        return story, Suppressed.SPAM
    if dice.mail("unsubscribe") < rates.unsubscribe:
        story.append((Happening.UNSUBSCRIBED, leaves))
        return story, Suppressed.UNSUBSCRIBED
    return story, None


def _steps(dice: _Dice, rates: FateRates, story: list[tuple[Happening, float]]) -> tuple[Step, ...]:
    """Number the story, and let some events come late and some come twice."""
    steps = []
    for number, (what, at) in enumerate(sorted(story, key=lambda pair: pair[1])):
        posted = [at]
        if dice.mail(f"disorder {number}") < rates.disorder:
            posted = [at + dice.between(f"late by {number}", 1.0, 5.0)]
        if dice.mail(f"repeat {number}") < rates.repeat:
            posted.append(posted[0] + dice.between(f"again after {number}", 0.5, 4.0))
        steps.append(Step(number, what, at, tuple(posted)))
    return tuple(steps)
