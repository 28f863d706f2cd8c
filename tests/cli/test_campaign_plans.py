"""The plan of a campaign from the command line: listed, exported, and the same once more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from outreach.cli import campaign_plans, plans
from tests.cli.test_campaigns import create, plan_file, runner, tenant
from tests.support.campaigns import plan_data

__all__ = ["plan_file", "tenant"]  # fixtures

app = typer.Typer()
app.add_typer(campaign_plans.app, name="campaigns")
app.add_typer(plans.app, name="plans")


def outreach(*words: str | Path, input: str | None = None) -> Any:
    return runner.invoke(app, [str(word) for word in words], input=input)


def answer(*words: str | Path) -> Any:
    """The JSON of a command that must succeed."""
    result = outreach(*words, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def hashes(name: str) -> list[str]:
    found = answer("campaigns", "versions", name, "--tenant", "acme")
    return [one["hash"] for one in found["data"]]


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_an_exported_plan_comes_in_again_as_the_same(
    tenant: str, plan_file: Path, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    create(tenant, plan_file)
    copy = tmp_path / "copy.json"
    words = ("campaigns", "export", "Spring", "--tenant", tenant, "--to", copy, *flags)
    assert outreach(*words).exit_code == 0
    assert outreach("plans", "validate", copy).exit_code == 0
    create(tenant, copy, "Summer")
    assert hashes("Summer") == hashes("Spring")


def test_versions_say_who_runs_them(tenant: str, plan_file: Path) -> None:
    create(tenant, plan_file)
    (version,) = answer("campaigns", "versions", "Spring", "--tenant", tenant)["data"]
    version.pop("created_at")
    assert len(version.pop("hash")) == 64
    assert version == {
        "version": 1,
        "is_current": True,
        "generated_by": "manual",
        "notes": None,
        "enrollments": 0,
        "live": 0,
    }
    shown = outreach("campaigns", "versions", "Spring", "--tenant", tenant)
    assert shown.stdout.startswith("version\tcurrent\tlive\tenrollments\tcreated\tnotes\thash\n")


def test_what_is_not_there_cannot_be_exported(tenant: str, plan_file: Path) -> None:
    create(tenant, plan_file)
    words = ("campaigns", "export", "--tenant", tenant)
    gone = outreach(*words, "Spring", "--version", "2")
    assert gone.exit_code == 2
    assert gone.stderr.startswith("There is no plan version")
    assert outreach(*words, "Winter").stderr == "There is no campaign Winter.\n"
    nowhere = outreach(*words, "Spring", "--to", "/nowhere/plan.json")
    assert nowhere.exit_code == 2
    assert "cannot be written" in nowhere.stderr
    assert plan_data()["start_node_id"] in outreach(*words, "Spring").stdout
