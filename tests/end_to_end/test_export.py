"""`earthprism export` as a user calls it: what is handed on is complete, styled, and readable by others."""

from __future__ import annotations

import csv
import json
import sqlite3
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio

from backend.manifest.package import Package
from tests import packages
from tests.end_to_end.command import done, refused
from tests.rasters import utm_grid, write_raster


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return packages.threshold_package(tmp_path_factory.mktemp("threshold"), (10, 20), window=32)


@pytest.fixture
def run(model: Package, tmp_path: Path) -> Path:
    """A finished run with every kind of result."""
    values = np.random.default_rng(0).choice([5.0, 15.0, 25.0], (1, 8, 8)).repeat(8, 1).repeat(8, 2)
    raster = write_raster(tmp_path / "scene.tif", values.astype(np.float32), utm_grid(64, 64))
    target = tmp_path / "run" / "map.tif"
    target.parent.mkdir()
    options = ["--confidence", target.with_name("sure.tif"), "--polygons", target.with_name("areas.gpkg")]
    done("segment", "--ms", raster, "--model", model.root, "--output", target, *options)
    return target


def test_everything_is_handed_on_with_styles_and_a_table(run: Path, model: Package, tmp_path: Path) -> None:
    folder = tmp_path / "handover"
    found = done("export", run, "--to", folder)["outputs"]
    names = {path.name for path in folder.iterdir()}
    assert {
        "map.tif",
        "map.qml",
        "sure.tif",
        "sure.qml",
        "areas.gpkg",
        "areas.csv",
        "map.run.json",
        "map.stac.json",
    } <= names
    assert {Path(path).name for paths in found.values() for path in paths} <= names
    with rasterio.open(run) as first, rasterio.open(folder / "map.tif") as second:
        np.testing.assert_array_equal(first.read(), second.read())
    style = (folder / "map.qml").read_text()
    for info in model.outputs[0].classes:
        assert f'value="{info.value}"' in style and info.color in style and f'label="{info.name}"' in style
    rows = list(csv.DictReader((folder / "areas.csv").open(encoding="utf-8")))
    assert sum(int(row["pixels"]) for row in rows) == 64 * 64 and {row["map"] for row in rows} == {"map.tif"}
    item = json.loads((folder / "map.stac.json").read_text("utf-8"))
    assert all((folder / asset["href"]).is_file() for asset in item["assets"].values())
    with sqlite3.connect(folder / "areas.gpkg") as database:
        ((layer, qml, default),) = database.execute("SELECT f_table_name, styleQML, useAsDefault FROM layer_styles")
    assert layer == "polygons" and default == 1 and 'attr="class"' in qml
    assert pyogrio.read_info(folder / "areas.gpkg", layer="polygons")["features"] > 0
    with sqlite3.connect(run.with_name("areas.gpkg")) as database:  # the run's own file is left as it was
        assert not database.execute("SELECT name FROM sqlite_master WHERE name = 'layer_styles'").fetchall()


def test_what_cannot_be_handed_on_is_refused_and_leaves_nothing(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "handover"
    assert "no finished run" in refused("export", tmp_path / "other.tif", "--to", folder)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")
    assert "not empty" in refused("export", run, "--to", taken)
    run.with_name("sure.tif").unlink()
    assert "sure.tif" in refused("export", run, "--to", folder) and not folder.exists()
    run.with_name("map.run.json").write_text("[]")
    assert "does not describe a run" in refused("export", run, "--to", tmp_path / "again")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".export")]
