"""Running commands as a script does: words in; exit code, output and sentences out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from outreach import cli

runner = CliRunner()


def outreach(*words: str | Path, input: str | bytes | None = None) -> Result:
    """The command's result, whatever it is."""
    return runner.invoke(cli.app, [str(word) for word in words], input=input)


def answer(*words: str | Path, input: str | bytes | None = None) -> Any:
    """The JSON of a command that must succeed."""
    result = outreach(*words, "--json", input=input)
    assert result.exit_code == 0, (result.stderr, result.exception)
    return json.loads(result.stdout)


def refusal(*words: str | Path, code: int, input: str | bytes | None = None) -> str:
    """The sentence of a command that must fail with this code and put nothing out."""
    result = outreach(*words, "--json", input=input)
    assert (result.exit_code, result.stdout) == (code, ""), (result.stderr, result.exception)
    return result.stderr
