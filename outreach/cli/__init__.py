"""The `outreach` command: each family of commands is a module of its own, imported when it is used.

Importing all of them would make `outreach --help` slow, so the tree knows names and one-line helps
and imports a family only to run it or to show its own help.
"""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperGroup

# Name and module, in the order in which a newcomer meets them.
FAMILIES: dict[str, str] = {
    "demo": "demo",
    "dev": "dev",
    "migrate": "migrate",
    "serve": "serve",
    "worker": "worker",
    "sandbox": "sandbox",
    "doctor": "doctor",
    "tenants": "tenants",
    "keys": "keys",
    "senders": "senders",
    "contacts": "contacts",
    "plans": "plans",
    "campaigns": "campaigns",
    "limits": "limits",
    "suppressions": "suppressions",
    "explain": "explain",
    "webhooks": "webhooks",
    "pause": "pause",
    "resume": "resume",
}


class Families(TyperGroup):
    """The root of the tree."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every family, whether it is imported or not."""
        return list(FAMILIES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The family, imported when it is first asked for."""
        if cmd_name in FAMILIES and cmd_name not in self.commands:
            module = importlib.import_module(f"outreach.cli.{FAMILIES[cmd_name]}")
            command = typer.main.get_command(module.app)
            command.name = cmd_name
            self.commands[cmd_name] = command
        return self.commands.get(cmd_name)


app = typer.Typer(
    cls=Families,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Email campaigns for many tenants out of one PostgreSQL database.",
)


@app.callback()
def root() -> None:
    """Email campaigns for many tenants out of one PostgreSQL database."""


def main() -> int:
    """Run the command line; the process's exit code."""
    try:
        app(prog_name="outreach")
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 1
    return 0
