"""A real HTTP server that stands in for SendGrid, in the demo, in `outreach sandbox` and in tests.

It validates mail as SendGrid does, answers 202 with an X-Message-Id, records what it accepted, lets
people and machines react to each mail by a seed, posts their events signed and in batches, and
misbehaves when ordered to. It shares no code with the provider it is tested against.

    http        connections: resets, hangs and silence
    wire        requests and replies as bytes
    app         the mail endpoint
    control     every other endpoint
    validation  what SendGrid refuses
    faults      ordered misbehaviour
    fates       what becomes of a mail (pure)
    events      how SendGrid tells of it
    webhook     posting, batches, retries
    signing     ECDSA over timestamp and body
    ledger      what was accepted
    senders     who may send
    activity    what was accepted, as the paid feed tells it
"""

from outreach.dev.sandbox.faults import Act, FaultOrder, When
from outreach.dev.sandbox.ledger import Accepted
from outreach.dev.sandbox.server import SandboxServer, run
from outreach.dev.sandbox.settings import FateRates, SandboxSettings
from outreach.dev.sandbox.signing import Signing, public_key_of

__all__ = [
    "Accepted",
    "Act",
    "FateRates",
    "FaultOrder",
    "SandboxServer",
    "SandboxSettings",
    "Signing",
    "When",
    "public_key_of",
    "run",
]
