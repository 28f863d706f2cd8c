"""Runs a sandbox: inside an event loop for tests, or as a process of its own."""

import asyncio
import signal
import sys
from types import TracebackType
from typing import Any, Self

import orjson

from outreach.dev.sandbox.app import Sandbox
from outreach.dev.sandbox.events import body_of, event_bytes
from outreach.dev.sandbox.faults import FaultOrder
from outreach.dev.sandbox.http import HttpServer
from outreach.dev.sandbox.ledger import Accepted
from outreach.dev.sandbox.settings import SandboxSettings
from outreach.dev.sandbox.signing import Signing


class SandboxServer:
    """A sandbox on a port, for the time of an `async with`; every control endpoint as a method."""

    def __init__(self, settings: SandboxSettings | None = None) -> None:
        self.settings = settings or SandboxSettings()
        self.sandbox = Sandbox(self.settings)
        self._http = HttpServer(self.sandbox)
        self._port = 0

    async def __aenter__(self) -> Self:
        self._port = await self._http.start(self.settings.host, self.settings.port)
        await self.sandbox.webhook.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.stop()
        await self.sandbox.webhook.stop()

    @property
    def url(self) -> str:
        host = self.settings.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}"

    @property
    def public_key(self) -> str:
        return self.sandbox.key.public_key

    @property
    def accepted(self) -> list[Accepted]:
        """Every accepted request still listed, oldest first."""
        return self.sandbox.ledger.listed()

    @property
    def pending(self) -> int:
        """Events that the webhook has not yet taken."""
        return self.sandbox.webhook.pending

    def summary(self) -> dict[str, Any]:
        return self.sandbox.control.summary()

    def body(self, message_id: str) -> dict[str, Any] | None:
        """The whole JSON of an accepted request, by X-Message-Id, while it is kept."""
        body = self.sandbox.ledger.body(message_id)
        return None if body is None else orjson.loads(body)

    def order(self, *orders: FaultOrder) -> None:
        """Ask for faults; they serve in this order."""
        for order in orders:
            self.sandbox.faults.add(order)

    def clear_faults(self) -> None:
        self.sandbox.faults.clear()

    def set_webhook_url(self, url: str | None) -> None:
        """Where events go from now on; mails accepted without an address have none."""
        self.sandbox.webhook.url = url

    def set_latency(self, latency_ms: int) -> None:
        self.sandbox.latency_ms = latency_ms

    def pause(self) -> None:
        self.sandbox.webhook.pause()

    def resume(self) -> None:
        self.sandbox.webhook.resume()

    async def flush(self, timeout_seconds: float = 30.0) -> bool:
        """Post all pending events now; True when the webhook took every one."""
        return await self.sandbox.webhook.flush(timeout_seconds)

    async def post_events(
        self,
        events: list[dict[str, Any]] | bytes,
        signing: Signing = Signing.TRUE,
        timestamp: str | None = None,
    ) -> int | None:
        """Post these events, or these very bytes, once; the webhook's status, None without one."""
        if not isinstance(events, bytes):
            events = body_of([event_bytes(event) for event in events])
        return await self.sandbox.webhook.post(events, signing, timestamp)


def run(settings: SandboxSettings) -> None:
    """Serve until SIGTERM or SIGINT; one line of JSON on standard output tells when ready."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings))


async def _serve(settings: SandboxSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with SandboxServer(settings) as server:
        ready = {"ready": True, "url": server.url, "public_key": server.public_key}
        sys.stdout.write(orjson.dumps(ready).decode() + "\n")
        sys.stdout.flush()
        await stop.wait()


def _loop_factory() -> Any:
    """uvloop's loop where there is one."""
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop
