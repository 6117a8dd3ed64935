"""The plugin in the desktop program itself, on a virtual screen: as a user installs, clicks and removes it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("qgis.core", reason="needs QGIS's Python: scripts/test plugin")

import desktop

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def programs():
    lacking = desktop.missing()
    if lacking:
        pytest.skip(f"needs the programs {' and '.join(lacking)}")


@pytest.mark.slow
def test_loads_checks_the_backend_and_unloads_in_desktop_qgis(tmp_path, light_python):
    report, log = tmp_path / "report.json", tmp_path / "qgis.log"
    code = Path(__file__).with_name("desktop_user.py")
    variables = {"EARTHPRISM_REPORT": str(report)}
    code = desktop.start(code, tmp_path / "home", light_python, variables, seconds=120, log=log)
    assert report.is_file(), (code, log.read_text(errors="replace")[-3000:])
    seen = json.loads(report.read_text())
    assert seen.pop("message").count("version") == 1, seen
    assert seen == {"loaded": True, "in_raster_menu": 1, "in_toolbar": 0, "level": 3, "left": [], "modules": []}


@pytest.mark.slow
def test_the_demo_maps_water_and_its_change_and_leaves_a_project(tmp_path):
    """As a new user calls it; the truth of the generated place is known."""
    done = subprocess.run([ROOT / "scripts" / "demo"], cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "demo-output"
    report = json.loads((folder / "report.json").read_text("utf-8"))
    assert [run["result"] for run in report["runs"]] == ["water.tif", "water-change.tif"]
    assert report["runs"][0]["iou"] > 0.9 and report["runs"][1]["iou"] > 0.8, report
    for name in ("water.tif", "water-polygons.gpkg", "water-change.tif", "project.qgz", "map.png"):
        assert (folder / name).stat().st_size > 1000
    again = subprocess.run([ROOT / "scripts" / "demo"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert again.returncode == 2 and "holds something already" in again.stderr
