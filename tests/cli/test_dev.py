"""`outreach dev`: everything up, reachable, and gone with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from urllib.request import urlopen

import pytest

from outreach import config
from tests.support.folders import family, open_folder, until

OUTREACH = (sys.executable, "-c", "import sys; from outreach.cli import main; sys.exit(main())")
PATIENCE_SECONDS = 60.0


@pytest.mark.slow
def test_it_stays_up_until_it_is_told() -> None:
    settings = {config.environment_name(field) for field in config.Settings.model_fields}
    environment = {name: value for name, value in os.environ.items() if name not in settings}
    with open_folder() as folder:
        process = subprocess.Popen(
            [*OUTREACH, "dev", "--port", "0", "--sandbox-port", "0"],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            said = ""
            while "Ctrl-C" not in said:
                line = process.stdout.readline()
                assert line, "it ended early"
                said += line
            for words in said.splitlines():
                command, _, url = words.strip().partition(" ")
                if command == "curl":
                    with urlopen(url) as answer:
                        assert answer.status == 200
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE_SECONDS)
            assert (process.returncode, err) == (0, "")
        finally:
            process.kill()
            process.communicate()
            until(lambda: family(folder) == [], "something still runs there")
