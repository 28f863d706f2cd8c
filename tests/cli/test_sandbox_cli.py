"""`outreach sandbox` as a user starts it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import urlopen

from outreach.dev.sandbox import public_key_of

OUTREACH = (sys.executable, "-c", "import sys; from outreach.cli import main; sys.exit(main())")
PATIENCE_SECONDS = 30.0


@contextmanager
def started(*options: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, killed at the end if it still runs."""
    process = subprocess.Popen(
        [*OUTREACH, "sandbox", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_it_says_when_it_is_ready_and_ends_when_told() -> None:
    options = ("--seed", "5", "--latency-ms", "20", "--webhook-url", "http://127.0.0.1:9/hook")
    with started("--port", "0", *options) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["public_key"] == public_key_of(5)
        with urlopen(f"{ready['url']}/sandbox") as answer:
            summary = json.load(answer)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, out, err) == (0, "", "")
    assert (summary["seed"], summary["latency_ms"]) == (5, 20)
    assert summary["webhook"]["url"] == "http://127.0.0.1:9/hook"


def test_a_taken_port_is_a_sentence_and_exit_3() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with started("--port", str(taken.getsockname()[1])) as process:
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, out) == (3, "")
    assert err.startswith("The sandbox cannot listen on port")
    assert "Traceback" not in err


def test_a_pace_that_makes_no_sense_is_wrong_usage() -> None:
    with started("--pace", "0") as process:
        _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 2
    assert "--pace" in err
