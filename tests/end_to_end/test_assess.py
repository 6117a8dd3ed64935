"""`earthprism assess` as a user calls it: draw a sample, label it, learn how right the map is."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine

from backend.geo.raster_xml import Legend, LegendClass, side_file
from tests.end_to_end.command import done, earthprism, refused

LEFT, TOP, PIXEL, SIDE = 500_000.0, 4_700_000.0, 10.0, 400
NAMES = ("forest", "lake", "town")


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    rows, cols = np.mgrid[:SIDE, :SIDE]
    return np.where(rows + cols < 300, 1, np.where(cols > 300, 2, 0)).astype(np.uint8)


@pytest.fixture
def class_map(truth: np.ndarray, tmp_path: Path) -> Path:
    """The truth, but a tenth of the forest is called town."""
    wrong = truth.copy()
    wrong[(truth == 0) & (np.random.default_rng(0).random(truth.shape) < 0.1)] = 2
    wrong[:5] = 255
    path = tmp_path / "map.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=SIDE, width=SIDE, dtype="uint8", crs="EPSG:32631", nodata=255,
        transform=Affine(PIXEL, 0, LEFT, 0, -PIXEL, TOP),
    ) as dataset:  # fmt: skip
        dataset.write(wrong, 1)
    legend = Legend(tuple(LegendClass(value, name, (0, 0, value)) for value, name in enumerate(NAMES)))
    Path(f"{path}.aux.xml").write_bytes(side_file(legend))
    return path


def labelled(points: Path, truth: np.ndarray, target: Path) -> Path:
    """What somebody who sees the truth writes into the field `reference`."""
    meta, _, wkb, _ = pyogrio.raw.read(points)
    shapes = shapely.from_wkb(wkb)
    cols, rows = ((shapely.get_x(shapes) - LEFT) // PIXEL, (TOP - shapely.get_y(shapes)) // PIXEL)
    names = np.array([NAMES[truth[int(row), int(col)]].upper() for row, col in zip(rows, cols, strict=True)], object)
    pyogrio.raw.write(
        target, wkb, field_data=[names], fields=["reference"], geometry_type="Point", crs=meta["crs"], driver="GPKG"
    )
    return target


def test_a_sample_is_drawn_labelled_and_says_how_right_the_map_is(
    class_map: Path, truth: np.ndarray, tmp_path: Path
) -> None:
    points = tmp_path / "points.gpkg"
    drawn = done("assess", class_map, "--points", points, "--count", 400, "--least", 50)
    assert sum(drawn["points"].values()) == 400 and min(drawn["points"].values()) >= 50
    meta, _, wkb, columns = pyogrio.raw.read(points)
    assert list(meta["fields"]) == ["point", "map", "reference"] and len(set(map(bytes, wkb))) == 400
    assert len(set(columns[1][:20])) > 1  # not one stratum after the other
    reference = labelled(points, truth, tmp_path / "reference.gpkg")
    files = ["--table", tmp_path / "accuracy.csv", "--picture", tmp_path / "matrix.svg"]
    found = done("assess", class_map, "--reference", reference, "--field", "reference", *files)
    with rasterio.open(class_map) as dataset:
        mapped = dataset.read(1)
    right = (mapped == truth)[mapped != 255].mean()
    assert abs(found["overall"]["value"] - right) <= 1.5 * found["overall"]["margin"] and found["references"] == 400
    by_name = {one["name"]: one for one in found["classes"]}
    assert by_name["lake"]["users"]["value"] == 1.0 and by_name["town"]["users"]["value"] < 0.95
    real = (truth[5:] == 2).sum() * PIXEL**2
    assert abs(by_name["town"]["area_m2"]["value"] - real) < 2 * by_name["town"]["area_m2"]["margin"]
    assert by_name["town"]["mapped_m2"] > real
    table = list(csv.reader((tmp_path / "accuracy.csv").open(encoding="utf-8")))
    assert table[0][:4] == ["map \\ reference", *NAMES] and int(table[1][1]) == found["counts"][0][0]
    assert (tmp_path / "matrix.svg").read_text("utf-8").count("<rect") == 1 + 9
    printed = earthprism("assess", class_map, "--reference", reference, "--field", "reference").out
    assert "overall" in printed and "town" in printed and "+-" in printed


def test_polygons_count_once_and_classes_may_be_given_by_value(class_map: Path, tmp_path: Path) -> None:
    boxes = [shapely.box(LEFT + x, TOP - y - 200, LEFT + x + 200, TOP - y) for x, y in ((100, 100), (200, 900))]
    boxes += [shapely.box(LEFT + 3300, TOP - y - 200, LEFT + 3600, TOP - y) for y in (500, 1500)]
    boxes += [shapely.box(LEFT + 1800, TOP - y - 300, LEFT + 2100, TOP - y) for y in (2000, 3000)]
    boxes += [shapely.box(LEFT - 900, TOP, LEFT - 800, TOP + 100)]
    pyogrio.raw.write(
        tmp_path / "r.gpkg", shapely.to_wkb(np.array(boxes)), field_data=[np.array([1, 1, 2, 2, 0, 0, 0], np.int32)],
        fields=["kind"], geometry_type="Polygon", crs="EPSG:32631", driver="GPKG",
    )  # fmt: skip
    found = done("assess", class_map, "--reference", tmp_path / "r.gpkg", "--field", "kind")
    assert np.array_equal(found["counts"], np.diag([2, 2, 2])) and found["overall"]["value"] == 1.0
    assert any("1 references lie where the map has no class" in text for text in found["warnings"])


def test_what_cannot_be_assessed_is_refused(class_map: Path, tmp_path: Path) -> None:
    assert "not clear what to do" in refused("assess", class_map)
    assert "field" in refused("assess", class_map, "--reference", tmp_path / "r.gpkg")
    assert "does not exist" in refused("assess", class_map, "--reference", tmp_path / "no.gpkg", "--field", "a")
    (tmp_path / "taken.gpkg").write_text("labels of a week")
    assert "exists already" in refused("assess", class_map, "--points", tmp_path / "taken.gpkg")
    assert "make no sense" in refused("assess", class_map, "--points", tmp_path / "p.gpkg", "--least", 1)
    far = tmp_path / "far.gpkg"
    pyogrio.raw.write(
        far, shapely.to_wkb(np.array([shapely.Point(0, 0)])), field_data=[np.array(["lake"], object)], fields=["a"],
        geometry_type="Point", crs="EPSG:32631", driver="GPKG",
    )  # fmt: skip
    assert "lies on a class of the map" in refused("assess", class_map, "--reference", far, "--field", "a")
