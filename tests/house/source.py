"""What the house rules read: the files of the repository, parsed once.

Only what git knows or would take is the repository: a file that is ignored is nobody's style.
"""

from __future__ import annotations

import ast
import subprocess
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Module:
    """One Python file."""

    path: str  # from the root, with slashes
    text: str

    @property
    def name(self) -> str:
        """Its dotted name; a package's is the folder's."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, filename=self.path)


@cache
def tracked() -> tuple[str, ...]:
    """Every file that is in git or would go in with the next commit."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    found = {path for path in listing.stdout.split("\0") if path}
    return tuple(sorted(path for path in found if (ROOT / path).is_file()))


def read(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


@cache
def modules(folder: str) -> tuple[Module, ...]:
    """The Python files under a folder of the repository."""
    return tuple(
        Module(path, read(path))
        for path in tracked()
        if path.startswith(f"{folder}/") and path.endswith(".py")
    )


def imports(module: Module, known: frozenset[str]) -> set[tuple[str, int]]:
    """The dotted names that a module imports, with the line; `from a import b` is a.b if that is
    one of the `known` modules, else a."""
    found: set[tuple[str, int]] = set()
    for node in ast.walk(module.tree):
        match node:
            case ast.Import(names=names):
                found |= {(alias.name, node.lineno) for alias in names}
            case ast.ImportFrom(module=str() as source, names=names, level=0):
                for alias in names:
                    whole = f"{source}.{alias.name}"
                    found.add((whole if whole in known else source, node.lineno))
            case ast.ImportFrom(level=level) if level > 0:
                found.add(("." * level, node.lineno))
    return found
