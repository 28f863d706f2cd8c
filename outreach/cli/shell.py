"""What every command shares: where the database is, how a result is shown, how a failure ends.

A result goes to standard output, once: one JSON object with `--json`, else text for people, or
plain tab-separated lines when piped. Everything else goes to standard error. A failure is a
sentence there and an exit code: 1 the work failed, 2 wrong usage or invalid input, 3 a service is
unavailable, 4 the schema is behind.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn, TypeVar
from uuid import UUID

import orjson
import psycopg
import typer

from outreach import log
from outreach.cli.files import output
from outreach.cli.ground import SchemaBehind, ground
from outreach.core.errors import Conflict, Invalid, NotFound, Problem, Refused, Unavailable
from outreach.db import Database, is_connection_lost
from outreach.services.tenants import find_tenant_id

T = TypeVar("T")

FAILED, WRONG_USAGE, UNAVAILABLE, SCHEMA_BEHIND, INTERRUPTED = 1, 2, 3, 4, 130

JsonFlag = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
TenantOption = Annotated[str, typer.Option("--tenant", help="The tenant's slug.")]


def run(work: Callable[[Database], Coroutine[Any, Any, T]], *, embedded: bool = True) -> T:
    """Do `work` on the configured database, else (if `embedded`) on the one of `.outreach/`.

    Whatever it raises ends the command with its sentence and its exit code.
    """

    async def opened(dsn: str, *, is_pooled: bool, size_max: int) -> T:
        database = Database.at(dsn, size_max=size_max, is_pooled=is_pooled, application="cli")
        async with database as db:
            return await work(db)

    with failures_as_exits(), ground(embedded=embedded) as settings:
        log.configure(level=settings.log_level)
        assert settings.dsn is not None
        return asyncio.run(
            opened(settings.dsn, is_pooled=settings.pooled, size_max=settings.pool_size)
        )


@contextmanager
def failures_as_exits() -> Iterator[None]:
    """Turn what may go wrong into a sentence on standard error and the exit code for it."""
    try:
        yield
    except Invalid as error:
        fail("\n".join(_problem(problem) for problem in error.problems), WRONG_USAGE)
    except NotFound as error:
        fail(str(error), WRONG_USAGE)
    except (Refused, Conflict) as error:
        fail(str(error), FAILED)
    except Unavailable as error:
        fail(_one_line(error), UNAVAILABLE)
    except SchemaBehind as error:
        fail(str(error), SCHEMA_BEHIND)
    except psycopg.Error as error:
        if not is_connection_lost(error):
            raise
        fail(f"The database is unavailable: {_one_line(error)}", UNAVAILABLE)
    except UnicodeEncodeError as error:
        # The shell hands over bytes that are no UTF-8 as half a surrogate pair each.
        fail(f"{error.object!a} is not text in UTF-8.", WRONG_USAGE)
    except BrokenPipeError:
        raise typer.Exit(0) from None  # whoever read our output has seen enough
    except KeyboardInterrupt:
        fail("Interrupted.", INTERRUPTED)


def fail(sentence: str, code: int = FAILED) -> NoReturn:
    """Say why on standard error and end the command."""
    print(printable(sentence, keep="\n"), file=sys.stderr)
    raise typer.Exit(code) from None


def actor() -> str:
    """Who runs the command, for the record of acts."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # no such account, as in some containers
        return f"cli:uid {os.getuid()}"


async def tenant_id_of(db: Database, slug: str) -> UUID:
    """The tenant's id; raises NotFound."""
    tenant_id = await find_tenant_id(db, slug)
    if tenant_id is None:
        raise NotFound("tenant", slug)
    return tenant_id


@dataclass(frozen=True, slots=True)
class Table:
    """Rows for people: a drawn table on a terminal, tab-separated lines when piped."""

    columns: Sequence[str]
    rows: Iterable[Sequence[object]]


def emit(as_json: bool, data: object, human: str | Table | Callable[[], str | Table]) -> None:
    """Write the command's result, the one thing that goes to standard output."""
    if as_json:
        text = orjson.dumps(data, option=orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z).decode()
    else:
        shown = human() if callable(human) else human
        text = shown if isinstance(shown, str) else _drawn(shown)
    with failures_as_exits(), output() as out:
        if text:
            print(text, file=out)


def note(sentence: str) -> None:
    """Tell a person at a terminal what goes on; scripts and files are not told."""
    if sys.stderr.isatty():
        print(printable(sentence), file=sys.stderr)


def cell(value: object) -> str:
    """A value as people read it."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S Z")
        case _:
            return printable(str(value))


def printable(text: str, *, keep: str = "") -> str:
    """Text without control characters: data must not steer the terminal that shows it."""
    return "".join(c if c.isprintable() or c in keep else "\N{REPLACEMENT CHARACTER}" for c in text)


def _drawn(table: Table) -> str:
    if not sys.stdout.isatty():
        rows = ([cell(value) for value in row] for row in table.rows)
        return "\n".join("\t".join(row) for row in (list(table.columns), *rows))
    # Imported here: rich takes a tenth of a second that `--json` and pipes need not pay.
    from rich import box
    from rich.console import Console
    from rich.table import Table as Drawing
    from rich.text import Text

    drawing = Drawing(*table.columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in table.rows:
        drawing.add_row(*(Text(cell(value)) for value in row))
    console = Console()
    with console.capture() as capture:
        console.print(drawing)
    return capture.get().rstrip("\n")


def _problem(problem: Problem) -> str:
    return f"{problem.path}: {problem.message}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
