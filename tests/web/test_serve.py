"""A real process with a real socket: it says when it is ready, and ends what it has begun."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from time import monotonic
from typing import IO

import httpx2
import psycopg
import pytest

from tests.support.web import PATH, SECRET, public_key, signed

BODY = b'[{"event":"open"}]'

SERVE = """
import asyncio, sys
from outreach import config, log
from outreach.db import Database
from outreach.providers.sendgrid_webhook import WebhookVerifier
from outreach.web.serve import serve

async def main():
    settings = config.load()
    log.configure()
    verifier = WebhookVerifier(settings.sendgrid_webhook_public_keys)
    async with Database.at(settings.dsn) as db:
        await serve(settings, db, "127.0.0.1", int(sys.argv[1]), verifier=verifier)

asyncio.run(main())
"""


FEW = SERVE.replace(
    "async def main", "sys.modules['outreach.web.serve'].CONNECTIONS_MAX = 4\n\nasync def main"
)


class Served:
    """One server process; what it wrote is read when it has ended."""

    def __init__(self, conninfo: str, port: int = 0, script: str = SERVE) -> None:
        environment = os.environ | {
            "DATABASE_URL": conninfo,
            "SENDGRID_WEBHOOK_PUBLIC_KEY": public_key(),
            "SECRET_KEY": SECRET,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, str(port)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self._stderr: IO[str] = self.process.stderr
        self.lines: list[str] = []

    def wait_until_ready(self) -> str:
        """Its URL."""
        for line in self._stderr:
            self.lines.append(line)
            if found := re.search(r"outreach serve: ready on (http://127\.0\.0\.1:\d+)$", line):
                return found[1]
        raise AssertionError("".join(self.lines))

    def ended(self) -> tuple[int, str]:
        """The exit code and all that was written."""
        written = self._stderr.read()
        return self.process.wait(30), "".join([*self.lines, written])


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(stack: ExitStack, conninfo: str, port: int = 0, script: str = SERVE) -> Served:
    served = Served(conninfo, port, script)
    stack.enter_context(served.process)
    stack.callback(served.process.kill)
    return served


def deliveries(conninfo: str) -> int:
    with psycopg.connect(conninfo) as connection:
        row = connection.execute("select count(*) from webhook_deliveries").fetchone()
    assert row is not None
    return int(row[0])


def test_it_serves_until_it_is_told_to_stop(stack: ExitStack, conninfo: str) -> None:
    served = start(stack, conninfo)
    url = served.wait_until_ready()
    with httpx2.Client(base_url=url) as client:
        assert client.get("/readyz").json()["status"] == "ok"
        assert client.post(PATH, content=BODY, headers=signed(BODY)).is_success
        assert client.post(PATH, content=BODY).status_code == 401
        assert client.get("/u/a-token-of-somebody").status_code == 404
        assert "server" not in client.get("/healthz").headers
    served.process.send_signal(signal.SIGTERM)
    code, written = served.ended()
    assert code == 0
    assert deliveries(conninfo) == 1
    assert "Traceback" not in written
    for hidden in ("127.0.0.1:", "a-token-of-somebody", SECRET):
        assert hidden not in written.replace(url, "")
    with psycopg.connect(conninfo) as connection:
        row = connection.execute("select webhooks_refused from installation").fetchone()
    assert row == (1,)


def test_a_request_that_has_begun_is_ended_before_the_process(
    stack: ExitStack, conninfo: str
) -> None:
    served = start(stack, conninfo)
    port = int(served.wait_until_ready().rpartition(":")[2])
    headers = {**signed(BODY), "content-length": str(len(BODY)), "host": "x"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(f"POST {PATH} HTTP/1.1\r\n{head}expect: 100-continue\r\n\r\n".encode())
        # The server asks for the body only once the endpoint reads it.
        assert b"100 Continue" in connection.recv(4096)
        served.process.send_signal(signal.SIGTERM)
        # It listens no more, and still waits for us. One that came as it ceased may be reset.
        with pytest.raises(ConnectionRefusedError):
            while True:
                with suppress(ConnectionResetError):
                    socket.create_connection(("127.0.0.1", port), timeout=5).close()
        assert served.process.poll() is None
        connection.sendall(BODY)
        assert b" 200 " in connection.recv(4096).partition(b"\r\n")[0]
    assert served.ended()[0] == 0
    assert deliveries(conninfo) == 1


@pytest.mark.parametrize("framing", ["content-length: 9000000", "transfer-encoding: chunked"])
def test_an_oversized_body_is_answered_before_it_has_come(
    stack: ExitStack, conninfo: str, framing: str
) -> None:
    served = start(stack, conninfo)
    port = int(served.wait_until_ready().rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(f"POST {PATH} HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n".encode())
        if "chunked" in framing:
            block = b"%x\r\n%s\r\n" % (65536, b" " * 65536)
            for _ in range(32):
                connection.sendall(block)
            connection.sendall(b"1\r\n \r\n")
        answer = connection.recv(4096)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in answer.lower()
    assert deliveries(conninfo) == 0


def test_a_port_that_is_taken_is_said(stack: ExitStack, conninfo: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, written = start(stack, conninfo, port).ended()
    assert code != 0
    assert f"The web server cannot listen on 127.0.0.1:{port}." in written


def test_a_flood_of_connections_is_put_off_and_forgotten(stack: ExitStack, conninfo: str) -> None:
    """They say nothing and stay; who comes then is told to come again, and is served after them."""
    url = httpx2.URL(start(stack, conninfo, script=FEW).wait_until_ready())
    with ExitStack() as flood:
        for _ in range(4):
            silent = flood.enter_context(socket.create_connection((url.host, url.port or 0), 10))
            silent.sendall(f"POST {PATH} HTTP/1.1\r\nHost: x\r\n".encode())
        with httpx2.Client(base_url=url) as client:
            # Connections are taken in their order: the fifth finds the four.
            response = client.post(PATH, content=BODY, headers=signed(BODY))
            assert response.status_code == 503
    ends_at = monotonic() + 20
    while not httpx2.post(f"{url}{PATH}", content=BODY, headers=signed(BODY)).is_success:
        assert monotonic() < ends_at, "the connections are still counted"
    assert deliveries(conninfo) == 1
