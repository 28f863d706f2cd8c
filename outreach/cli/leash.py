"""Run a command for as long as whoever started it lives: `python -m outreach.cli.leash worker`.

The parent keeps the other end of our standard input and writes nothing. When it is gone, even by
`kill -9`, the kernel closes that end, and we ask ourselves to stop, as an operator would.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

PATIENCE_SECONDS = 25.0


def main() -> None:
    """Follow the parent, and be the command."""
    threading.Thread(target=_follow, daemon=True).start()
    from outreach.cli import main as command

    sys.exit(command())


def _follow() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
