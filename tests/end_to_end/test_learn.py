"""`earthprism learn` as a user calls it: from a handful of labels to a model, a map, and another scene."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.warp import transform

from backend.manifest.package import Package
from tests import packages
from tests.end_to_end.command import done, refused

LEFT, TOP, PIXEL = 500_000.0, 4_700_000.0, 10.0
SIDE, CELL = 192, 8  # pixels, and pixels of a position of the encoder
NAMES = ("crop", "lake", "town")
COLORS = np.array([[5, 1, 1], [1, 5, 1], [1, 1, 5]], float)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Its map p8 holds means of 8 x 8 pixels."""
    return packages.pyramid_encoder(tmp_path_factory.mktemp("pyramid"), 32)


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for installed models."""
    monkeypatch.setenv("EARTHPRISM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def scene(path: Path, seed: int) -> np.ndarray:
    """Writes a raster of three bands; returns the class of each of its positions."""
    random = np.random.default_rng(seed)
    classes = random.integers(0, 3, (SIDE // CELL, SIDE // CELL))
    values = COLORS[classes].transpose(2, 0, 1).repeat(CELL, 1).repeat(CELL, 2) + random.normal(0, 0.3, (3, SIDE, SIDE))
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=SIDE, width=SIDE, dtype="float32", crs="EPSG:32631",
        transform=Affine(PIXEL, 0, LEFT, 0, -PIXEL, TOP),
    ) as dataset:  # fmt: skip
        dataset.write(values.astype(np.float32))
        for band in range(3):
            dataset.set_band_description(band + 1, f"B{band + 1}")
    return classes


def write_labels(path: Path, shapes: list[shapely.Geometry], names: list[object], crs: str = "EPSG:32631") -> Path:
    kind = shapes[0].geom_type if len({shape.geom_type for shape in shapes}) == 1 else "Unknown"
    pyogrio.raw.write(
        path, shapely.to_wkb(np.array(shapes)), field_data=[np.array(names, object)], fields=["class"],
        geometry_type=kind, crs=crs, driver="GPKG",
    )  # fmt: skip
    return path


def labelled(classes: np.ndarray, each: int, kinds: tuple[str, ...] = ("polygon",)) -> tuple[list, list[object]]:
    """Shapes in the middle of positions, `each` of every class."""
    shapes: list[shapely.Geometry] = []
    names: list[object] = []
    for value, name in enumerate(NAMES):
        for number, (row, col) in enumerate(np.argwhere(classes == value)[:: len(classes) // 8][:each]):
            x, y = LEFT + (col + 0.5) * CELL * PIXEL, TOP - (row + 0.5) * CELL * PIXEL
            made = {
                "polygon": shapely.box(x - 30, y - 30, x + 30, y + 30),
                "line": shapely.LineString([(x - 20, y), (x + 20, y)]),
                "point": shapely.Point(x, y),
            }
            shapes.append(made[kinds[number % len(kinds)]])
            names.append(name)
    return shapes, names


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        found: np.ndarray = dataset.read(1)
    return found


def test_from_labels_to_a_map_and_to_another_scene(encoder: Package, tmp_path: Path, own_home: Path) -> None:
    classes = scene(tmp_path / "scene.tif", 0)
    labels = write_labels(tmp_path / "labels.gpkg", *labelled(classes, 8))
    arguments = ["--labels", labels, "--field", "class", "--model", encoder.root, "--feature", "p8", "--save", "valley"]
    outputs = ["--output", tmp_path / "map.tif", "--confidence", tmp_path / "sure.tif"]
    found = done("learn", "--ms", tmp_path / "scene.tif", *arguments, *outputs)
    report = found["report"]
    assert [(one["name"], one["labels"]) for one in report["classes"]] == [(name, 8) for name in NAMES]
    for key in ("by_label", "by_block"):
        assert report[key]["accuracy"]["value"] == 1.0 and np.trace(report[key]["confusion"]) == 24
    assert report["warnings"] == []
    middles = read(tmp_path / "map.tif")[CELL // 2 :: CELL, CELL // 2 :: CELL]
    np.testing.assert_array_equal(middles, classes)
    assert [area["name"] for area in found["outputs"]["class_areas"][0]] == list(NAMES)

    other = scene(tmp_path / "other.tif", 1)
    models = ["--model", encoder.root, "--model", found["model"]]
    done("segment", "--ms", tmp_path / "other.tif", *models, "--output", tmp_path / "other-map.tif")
    np.testing.assert_array_equal(read(tmp_path / "other-map.tif")[CELL // 2 :: CELL, CELL // 2 :: CELL], other)
    assert done("models", "verify", found["model"])["ok"]
    card = (Path(found["path"]) / "README.md").read_text("utf-8")
    assert '24 labels of "labels.gpkg", field class' in card and json.loads(card.split("```json")[1].split("```")[0])


def test_points_and_lines_in_another_crs_and_a_second_attempt(encoder: Package, tmp_path: Path, own_home: Path) -> None:
    classes = scene(tmp_path / "scene.tif", 0)
    shapes, names = labelled(classes, 8, ("polygon", "line", "point"))

    def moved(points: np.ndarray) -> np.ndarray:
        return np.stack(transform("EPSG:32631", "EPSG:4326", points[:, 0], points[:, 1]), axis=1)

    labels = write_labels(tmp_path / "labels.gpkg", list(shapely.transform(shapes, moved)), names, "EPSG:4326")
    job = ["learn", "--ms", tmp_path / "scene.tif", "--labels", labels, "--field", "class", "--save", "valley"]
    first = done(*job, "--model", encoder.root, "--feature", "p8")
    assert first["report"]["by_label"]["accuracy"]["value"] == 1.0 and first["outputs"] == {}
    assert first["model"] == "valley@1.0.0"
    # The same labels give the same model, so that an interrupted map goes on; other labels the next version.
    map_ = ["--output", tmp_path / "map.tif"]
    assert done(*job, *map_, "--model", encoder.root, "--feature", "p8")["model"] == "valley@1.0.0"
    again = done(*job, *map_, "--model", encoder.root, "--feature", "p8", "--resume")
    assert again["model"] == "valley@1.0.0" and again["windows"] == 0
    write_labels(labels, list(shapely.transform(shapes[1:], moved)), names[1:], "EPSG:4326")
    assert done(*job, "--model", encoder.root, "--feature", "p8")["model"] == "valley@1.0.1"


def test_weak_evidence_is_said(encoder: Package, tmp_path: Path, own_home: Path) -> None:
    classes = scene(tmp_path / "scene.tif", 0)
    shapes, names = labelled(classes, 2)
    outside = shapely.Point(LEFT - 5000, TOP)
    labels = write_labels(tmp_path / "labels.gpkg", [*shapes, outside.buffer(10)], [*names, "lake"])
    job = ["learn", "--ms", tmp_path / "scene.tif", "--labels", labels, "--field", "class", "--save", "valley"]
    warnings = done(*job, "--model", encoder.root, "--feature", "p8")["warnings"]
    assert any("few labels of crop (2), lake (2), town (2)" in text for text in warnings)
    assert any("1 labels lie where the scene has no data" in text for text in warnings)


def test_what_cannot_be_learned_is_refused(encoder: Package, tmp_path: Path, own_home: Path) -> None:
    classes = scene(tmp_path / "scene.tif", 0)
    shapes, names = labelled(classes, 3)
    labels = write_labels(tmp_path / "labels.gpkg", shapes, names)
    one = write_labels(tmp_path / "one.gpkg", shapes, ["lake"] * len(shapes))
    far = write_labels(tmp_path / "far.gpkg", [shapely.Point(0, 0), shapely.Point(1, 1)], ["lake", "crop"])
    job = ["learn", "--ms", tmp_path / "scene.tif", "--model", encoder.root, "--feature", "p8"]
    saved = ["--save", "valley"]
    assert 'no field "kind"' in refused(*job, *saved, "--labels", labels, "--field", "kind")
    assert "one class only" in refused(*job, *saved, "--labels", one, "--field", "class")
    assert "outside" in refused(*job, *saved, "--labels", far, "--field", "class")
    assert "does not exist" in refused(*job, *saved, "--labels", tmp_path / "none.gpkg", "--field", "class")
    assert "--polygons needs --output" in refused(
        *job, *saved, "--labels", labels, "--field", "class", "--polygons", tmp_path / "p.gpkg"
    )
    assert "--save" in refused(*job, "--labels", labels, "--field", "class")
    assert "name" in refused(*job, "--labels", labels, "--field", "class", "--save", "My Valley")
    assert not list(own_home.rglob("valley*"))
