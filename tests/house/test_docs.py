"""What a user can set or call is written down; what is written down exists.

Read from the code itself: the settings' fields, the app's routes, the Makefile's targets. A page is
README.md or one of docs/. The commands have their own test beside this one.
"""

from __future__ import annotations

import json
import re

import pytest

from outreach import config
from outreach.core.plan import validate_plan
from outreach.db import Database
from outreach.web.app import create_app
from tests.house.source import ROOT, read, tracked
from tests.support.web import settings, verifier

README_LINES_MAX = 200
PAGES = tuple(path for path in tracked() if re.fullmatch(r"README\.md|docs/[\w-]+\.md", path))
GUIDES = (*PAGES, "CONTRIBUTING.md", "CHANGELOG.md")


def pages() -> str:
    return "\n".join(read(path) for path in PAGES)


@pytest.mark.parametrize("field", sorted(config.Settings.model_fields))
def test_every_setting_is_in_the_readme(field: str) -> None:
    assert f"`{config.environment_name(field)}`" in read("README.md")


def test_every_variable_in_the_readme_is_a_setting() -> None:
    table = read("README.md").partition("## Environment")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `([A-Z_]+)`", table, re.MULTILINE))
    assert named == {config.environment_name(field) for field in config.Settings.model_fields}


def test_every_route_is_written_down() -> None:
    given = settings()
    app = create_app(given, Database.at(""), verifier(given))
    paths = {getattr(route, "path", "") for route in app.routes}
    assert {"/healthz", "/webhooks/sendgrid"} <= paths
    text = pages()
    assert [path for path in sorted(paths) if f"{path}`" not in text] == []


def test_every_target_of_the_makefile_is_declared_and_explained() -> None:
    makefile = read("Makefile")
    (phony,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    explained = set(re.findall(r"^([a-z-]+):.*## \w", makefile, re.MULTILINE))
    assert set(phony.split()) == targets, ".PHONY names the targets, all of them"
    assert targets - explained == {"python"}, (
        "`## ` says what a target is for"
    )  # a guard, no target


@pytest.mark.parametrize("path", GUIDES)
def test_links_lead_somewhere(path: str) -> None:
    here = (ROOT / path).parent
    for target in re.findall(r"\]\(([^)#\s]+)", read(path)):
        if "://" not in target:
            assert (here / target).is_file(), f"{path} links to {target}"


def test_pages_that_are_named_in_code_exist() -> None:
    for path in tracked():
        if path.endswith((".py", ".sql")):
            for name in re.findall(r"\bdocs/[\w-]+\.md\b", read(path)):
                assert name in PAGES, f"{path} names {name}"


def test_the_readme_is_short_and_names_the_two_commands() -> None:
    text = read("README.md")
    assert len(text.splitlines()) <= README_LINES_MAX
    assert "make demo" in text
    assert "make test" in text


def test_the_plans_in_the_guide_are_plans() -> None:
    examples = re.findall(r"```json\n(.*?)```", read("docs/plan-language.md"), re.DOTALL)
    assert examples
    for example in examples:
        assert validate_plan(json.loads(example)) == []


def test_the_changelog_has_an_unreleased_part() -> None:
    assert "## [Unreleased]" in read("CHANGELOG.md")


def test_the_package_says_that_it_is_typed_and_licensed() -> None:
    assert {"outreach/py.typed", "LICENSE", "NOTICE"} <= set(tracked())
    assert "Apache License" in read("LICENSE")
    assert "psycopg" in read("NOTICE")
