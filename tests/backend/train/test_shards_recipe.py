"""The command that writes shards, from the command line to samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely

from backend.train.__main__ import main
from backend.train.data.shards import ShardSet
from tests.backend.train.data.images import LEFT, TOP, optical, radar


def run(*options: object) -> int:
    return main(["shards", *map(str, options)])


def test_rasters_become_shards_with_map_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    optical(tmp_path / "in" / "s2.tif")
    radar(tmp_path / "in" / "s1.tif")
    wood = shapely.box(LEFT, TOP - 640, LEFT + 320, TOP)
    pyogrio.raw.write(
        str(tmp_path / "osm.gpkg"), shapely.to_wkb(np.array([wood])), [np.array(["wood"], dtype=object)], ["kind"],
        driver="GPKG", geometry_type="Polygon", crs="EPSG:32631",
    )  # fmt: skip
    options = ["--input", tmp_path / "in", "--output", tmp_path / "out", "--from", "rasters", "--size", 32]
    options += ["--per-shard", 3, "--classes", tmp_path / "osm.gpkg", "--class-column", "kind", "--class-cells", 8]
    assert run(*options) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["shards"], report["samples"]) == (2, 4)
    found = ShardSet(tmp_path / "out")
    west, east = found[0], found[1]
    assert west.class_names == ("wood",) and west.classes is not None and east.classes is not None
    assert west.classes.all() and not east.classes.any() and west.classes.shape == (1, 8, 8)
    assert set(west.series) == {"ms", "sar"} and west.place.bounds == (LEFT, TOP - 320, LEFT + 320, TOP)
    assert run(*options) == 2  # the folder holds shards already


def test_options_answer_what_metadata_leave_open(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    optical(tmp_path / "in" / "s2.tif", "2023-05-04")
    options = ["--input", tmp_path / "in", "--output", tmp_path / "out", "--from", "rasters"]
    assert run(*options) == 2 and "offset" in caplog.text
    assert run(*options, "--options", "offset=-1000") == 0
    assert len(ShardSet(tmp_path / "out")) == 1


def test_what_makes_no_sample_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "in").mkdir()
    for layout in ("rasters", "safe", "bigearthnet", "eurosat", "fmow", "kit"):
        assert run("--input", tmp_path / "in", "--output", tmp_path / layout, "--from", layout) == 2
        assert not list((tmp_path / layout).glob("*.tar"))
    assert run("--input", tmp_path / "nothing", "--output", tmp_path / "o", "--from", "rasters") == 2
    assert "is no folder" in caplog.text
