"""Every command that can be typed is in README.md or docs/, and says what it does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from outreach import cli
from tests.house.test_docs import pages


def commands(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every command that can be typed, as its words and its help."""
    inner = {}
    if isinstance(command, TyperGroup):
        context = typer.Context(command, info_name="outreach")
        inner = {
            name: command.get_command(context, name) for name in command.list_commands(context)
        }
    for name, found in inner.items():
        yield from commands(found, *path, name)
    if not command.hidden and (not inner or (path and command.invoke_without_command)):
        yield path, command.help or ""


def is_written(words: tuple[str, ...], text: str) -> bool:
    """Whether a command stands there whole, or as one of several: `limits show|set`."""
    *group, last = words
    if not group:
        return bool(re.search(rf"(?:`|outreach ){re.escape(last)}(?![\w-])", text))
    alternatives = rf"{' '.join(group)} [\w\\|-]*(?<![\w-]){re.escape(last)}(?![\w-])"
    return bool(re.search(alternatives, text))


def test_every_command_is_written_down_and_says_what_it_does() -> None:
    text = pages()
    found = dict(commands(typer.main.get_command(cli.app)))
    assert len(found) > 20
    assert [" ".join(words) for words in found if not is_written(words, text)] == []
    assert [" ".join(words) for words, help in found.items() if not help] == []


def test_a_command_that_is_not_written_down_is_found() -> None:
    text = "| `limits show\\|set` | `worker`, `tenants create`"
    assert is_written(("limits", "show"), text)
    assert is_written(("limits", "set"), text)
    assert is_written(("worker",), text)
    assert not is_written(("limits", "list"), text)
    assert not is_written(("work",), text)
    assert not is_written(("tenants", "pause"), text)
