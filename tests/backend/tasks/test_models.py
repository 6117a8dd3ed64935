"""Installing, listing, describing, verifying and removing packages, as jobs and queries do it."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.protocol.errors import Cancelled, PackageError
from backend.protocol.jobs import ComputeSpec, InstallJob, RemoveJob
from backend.protocol.messages import ModelSummary
from backend.tasks import models
from backend.tasks.context import Context
from tests.packages import identity_package


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EARTHPRISM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return identity_package(tmp_path / "made", bands=2, title="Nothing changes").root


def test_the_life_of_a_package(package: Path, own_home: Path) -> None:
    installed = models.install(InstallJob(str(package)), Context())
    assert (installed["name"], installed["built_in"], installed["already_installed"]) == ("identity", False, False)
    assert Path(installed["path"]).is_relative_to(own_home)
    assert models.install(InstallJob(str(package)), Context())["already_installed"]
    listed = {entry["name"]: entry for entry in models.list_models()}
    assert listed["identity"]["problem"] == "" and listed["identity"]["title"] == "Nothing changes"
    assert ModelSummary("identity", installed["version"], "Nothing changes", "bundle", "segment") in models.summaries()
    described = models.describe("identity")
    assert described["document"]["type"] == "Feature" and len(described["digest"]) == 64
    checked = models.verify("identity", ComputeSpec(device="cpu"))
    assert checked["ok"] and checked["checks"][0]["difference"] is not None
    assert models.remove(RemoveJob("identity")) == {"reference": installed["reference"]}
    assert "identity" not in {entry["name"] for entry in models.list_models()}
    with pytest.raises(PackageError):
        models.remove(RemoveJob("identity"))


def test_a_damaged_package_is_listed_with_its_problem_and_is_not_offered(package: Path) -> None:
    installed = models.install(InstallJob(str(package)), Context())
    (Path(installed["path"]) / "model.json").write_text("{}")
    problems = {entry["path"]: entry["problem"] for entry in models.list_models()}
    assert problems[installed["path"]]
    assert "identity" not in {summary.name for summary in models.summaries()}


def test_a_cancelled_installation_leaves_nothing(package: Path) -> None:
    context = Context()
    context.cancel()
    with pytest.raises(Cancelled):
        models.install(InstallJob(str(package)), context)
    assert "identity" not in {entry["name"] for entry in models.list_models()}
