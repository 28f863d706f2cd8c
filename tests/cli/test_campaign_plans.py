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


def test_an_update_is_tried_out_and_then_made(tenant: str, plan_file: Path, tmp_path: Path) -> None:
    create(tenant, plan_file)
    new = tmp_path / "new.json"
    new.write_text(plan_file.read_text().replace('"Again"', '"Once more"'), "utf-8")
    words = ("campaigns", "update", "Spring", "--tenant", tenant, "--plan", new)
    tried = outreach(*words, "--dry-run")
    assert tried.stdout == (
        'bump: The subject changes from "Again" to "Once more".\n'
        "0 stand on nodes that stay as they are; 0 have not begun.\n"
    )
    assert len(hashes("Spring")) == 1
    done = answer(*words, "--if-version", "1", "--reason", "shorter")
    assert (done["from_version"], done["version"], done["carried"]) == (1, 2, 0)
    assert done["nodes"][0]["differences"][0]["part"] == "words"
    newest, _ = answer("campaigns", "versions", "Spring", "--tenant", tenant)["data"]
    assert (newest["version"], newest["is_current"], newest["notes"]) == (2, True, "shorter")
    stale = outreach(*words, "--if-version", "1")
    assert stale.exit_code == 1
    assert stale.stderr == (
        "The campaign Spring is at version 2; this needs it to be at version 1.\n"
    )
    assert "Nothing changes.\nSpring runs version 2" in outreach(*words).stdout


@pytest.mark.parametrize(
    ("maps", "sentence"),
    [
        (("bump",), "'bump' is not OLD=NEW"),
        (("a=b", "a=c"), "a cannot go to both b and c"),
        (("gone=stop",), "map.gone: The old plan has no node gone."),
    ],
)
def test_a_mapping_that_is_none_is_refused(
    tenant: str, plan_file: Path, maps: tuple[str, ...], sentence: str
) -> None:
    create(tenant, plan_file)
    flags = [word for one in maps for word in ("--map", one)]
    words = ("campaigns", "update", "Spring", "--tenant", tenant, "--plan", plan_file)
    refused = outreach(*words, *flags, "--dry-run")
    assert refused.exit_code == 2
    assert sentence in refused.stderr
