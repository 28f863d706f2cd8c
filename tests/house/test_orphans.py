"""Every module is used: what nothing imports, names or starts is not there."""

from __future__ import annotations

import re

from outreach.cli import FAMILIES
from tests.house.source import Module, imports, modules, read

# Started by another process, or by the word that was typed: nothing imports them.
STARTED_BY_NAME = frozenset(
    {"outreach.__main__", "outreach.dev.postgres_keeper"}
    | {f"outreach.cli.{family.module}" for family in FAMILIES.values()}
)


def orphans(package: tuple[Module, ...], entry_points: str) -> list[str]:
    """Modules that nothing imports, names or starts; a package is used through its modules."""
    names = frozenset(module.name for module in package)
    used = set(re.findall(r'"(outreach[a-z_.]*)(?::\w+)?"', entry_points)) | STARTED_BY_NAME
    for module in package:
        used |= {name for name, _ in imports(module, names) if name != module.name}
        used |= set(re.findall(r'"(outreach\.[a-z_.]+)"', module.text))
    used |= {name for name in names if any(inner.startswith(f"{name}.") for inner in names)}
    return sorted(names - used)


def test_every_module_is_used() -> None:
    assert orphans(modules("outreach"), read("pyproject.toml")) == []


def test_what_is_started_by_its_name_exists() -> None:
    assert {module.name for module in modules("outreach")} >= STARTED_BY_NAME


def test_an_orphan_is_found() -> None:
    package = (
        Module("outreach/__init__.py", ""),
        Module("outreach/cli.py", "from outreach import used"),
        Module("outreach/used.py", 'START = "outreach.started"'),
        Module("outreach/started.py", ""),
        Module("outreach/alone.py", "import outreach.alone"),
    )
    assert orphans(package, 'outreach = "outreach.cli:main"') == ["outreach.alone"]
