"""The `outreach` command: one module a family, imported when it is asked for.

`outreach --help` and a mistyped name must not pay for the whole application, so the families stand
in a table of names; a family's module holds its `app` (or the one named here).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup


@dataclass(frozen=True, slots=True)
class Family:
    """Where a family of commands is, and what the list of commands says of it."""

    help: str
    module: str
    app: str = "app"


FAMILIES: Mapping[str, Family] = {
    "demo": Family("The whole main job once, on real parts, in under two minutes.", "demo"),
    "dev": Family("Database, stand-in SendGrid, web and worker, until Ctrl-C.", "dev"),
    "migrate": Family("Bring the schema to the head, back, or check it.", "migrate"),
    "serve": Family("Webhooks and unsubscribe links over HTTP.", "serve"),
    "worker": Family("Sends, timers and events.", "worker"),
    "sandbox": Family("The stand-in SendGrid.", "sandbox"),
    "tenants": Family("Who shares the installation.", "tenants"),
    "keys": Family("Keys of the HTTP API.", "keys"),
    "senders": Family("Who mail comes from.", "senders"),
    "contacts": Family("Who is written to.", "contacts"),
    "plans": Family("Check a plan, or try it out, before it runs.", "plans"),
    "campaigns": Family("From a plan to a running campaign.", "campaign_plans"),
    "enrollments": Family("Show, pause, resume or stop one contact's campaigns.", "enrollments"),
    "messages": Family("Mails of which nobody knows whether they left.", "messages"),
    "incidents": Family("Alarms: what must not happen and did.", "incidents"),
    "limits": Family("How fast mail may go, and how much of that is used.", "limits"),
    "suppressions": Family("Who must not be written to.", "suppressions"),
    "pause": Family("Stop everybody's sending.", "control", "pause_app"),
    "resume": Family("End that.", "control", "resume_app"),
    "fence": Family("Whether data loss holds all sending, and an operator's last word.", "fence"),
    "reconcile": Family("Put back mail that the database forgot.", "fence", "reconcile_app"),
    "explain": Family("One contact's whole story.", "explain"),
    "webhooks": Family("Apply stored webhook bodies again.", "webhooks"),
    "rebuild": Family("Whether what is stored is what its records come to.", "rebuild"),
    "doctor": Family("Settings, schema, clock, queue and provider.", "doctor"),
}


STANDARD_ERROR = 2
# Each family would offer them, and none could keep what they promise: completion is the root's.
COMPLETION_OPTIONS = ("install_completion", "show_completion")


class _Commands(dict[str, Any]):
    """The families by name, each imported when its command is looked at."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(FAMILIES))

    def __getitem__(self, name: str) -> Any:
        command = super().__getitem__(name)
        if command is None:
            family = FAMILIES[name]
            module = import_module(f"outreach.cli.{family.module}")
            family_app: typer.Typer = getattr(module, family.app)
            family_app.rich_markup_mode = None  # as the root's: plain text, on paper and in pipes
            command = typer.main.get_command(family_app)
            command.params = [p for p in command.params if p.name not in COMPLETION_OPTIONS]
            command.name = name
            self[name] = command
        return command

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in FAMILIES else default

    def items(self) -> Any:
        return [(name, self[name]) for name in self]

    def values(self) -> Any:
        return [self[name] for name in self]


class _Families(TyperGroup):
    """The root: lists its commands without importing them."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands()

    def format_commands(self, _ctx: object, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, family.help) for name, family in FAMILIES.items()])


app = typer.Typer(
    cls=_Families,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def outreach() -> None:
    """AI-personalized, multi-tenant email campaigns out of one PostgreSQL database."""


def _open_standard_streams() -> None:
    """Let the streams that the caller closed lead nowhere, lest a connection get their numbers."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= STANDARD_ERROR:
        pass
    os.close(number)
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8")
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8")


def main() -> int:
    """The entry point of the `outreach` script and of `python -m outreach`; its exit code."""
    _open_standard_streams()
    try:
        app(prog_name="outreach")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0
