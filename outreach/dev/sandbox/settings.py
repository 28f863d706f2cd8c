"""What a sandbox is told at its start: where events go, how people behave, how fast time runs.

Rates are shares from 0 to 1. Durations of the story are written for `time_scale` 1, where a mail is
delivered in a second or two and opened within ten; 0.1 makes that tenths of a second.
"""

from dataclasses import dataclass, field
from typing import Self

BODY_BYTES_MAX = 30 * 1024 * 1024
POST_BYTES_MAX = 768 * 1024


@dataclass(frozen=True, slots=True)
class FateRates:
    """How often each thing happens; the defaults are those of a decent business list."""

    bounce: float = 0.02
    """Of addresses: they do not exist, so the first mail bounces and later ones are dropped."""
    block: float = 0.01
    """Of mails: refused for reputation; the address stays good."""
    defer: float = 0.03
    """Of mails: told to come back later; one in ten of these is given up as blocked."""
    open: float = 0.35
    """Of delivered mails: opened by a person."""
    machine_open: float = 0.15
    """Of addresses: a privacy proxy fetches every image at once."""
    click: float = 0.2
    """Of opened mails."""
    unsubscribe: float = 0.01
    """Of delivered mails."""
    spam: float = 0.002
    """Of delivered mails: reported as spam."""
    repeat: float = 0.03
    """Of events: posted a second time with the same id."""
    disorder: float = 0.05
    """Of events: posted later than those that happened after it."""

    @classmethod
    def quiet(cls) -> Self:
        """Every mail is processed and delivered, and nothing else happens."""
        return cls(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """Everything a sandbox can be told; without a webhook address no events are planned."""

    webhook_url: str | None = None
    seed: int = 1
    latency_ms: int = 0
    host: str = "127.0.0.1"
    port: int = 0
    time_scale: float = 1.0
    rates: FateRates = field(default_factory=FateRates)
    api_key: str | None = None
    """The only key let in; without it any Bearer token is."""
    accepted_max: int = 100_000
    """Newest accepted requests that stay listed; counters go on beyond it."""
    bodies_max: int = 1_000
    """Newest accepted requests whose whole JSON is kept."""
    activity_lag_seconds: float = 0.0
    """How long after its acceptance a mail shows in the activity feed."""
    pending_max: int = 1_000_000
    """Events waiting to be posted; past it new mails get none, which is counted."""
    batch_seconds: float = 0.1
    """How long events gather before they are posted together."""
    batch_events_max: int = 500
    posts_max: int = 4
    """Webhook posts under way at once."""
    post_timeout_seconds: float = 10.0
    retry_first_seconds: float = 0.2
    retry_last_seconds: float = 5.0
    """A refused post is tried again after intervals that double from the first to the last."""
    retry_for_seconds: float = 600.0
    """After this long a post is given up, which is counted."""
