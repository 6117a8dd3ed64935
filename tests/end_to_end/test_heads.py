"""Heads on the foundation encoders, from rasters to class maps; weights are random, so only the way is tested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from backend.manifest.load import load_folder
from backend.manifest.package import Package
from backend.runtime.verify import verify
from backend.train.recipes import encoder_package, head_package
from tests.end_to_end.command import done, earthprism

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
WIDTH, HEIGHT, HOLE = 100, 90, 7
CLASSES = "0:land:#d9c8a3,1:water:#1f6fb4,5:ice:#ffffff"
MS = "ms_1,ms_2,ms_3,ms_4"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packages")


@pytest.fixture(scope="module")
def skysense(folder: Path) -> Package:
    made = encoder_package.run(encoder_package.EncoderPackage("skysense-v2-tiny", str(folder), graphs=""))
    return load_folder(Path(made["package"]))


def head(encoder: Package, folder: Path, name: str, kind: str, features: str, **fields: object) -> Package:
    recipe = head_package.HeadPackage(
        str(encoder.root), kind, features, CLASSES, str(folder), name, graphs="", arguments="width=32"
    )
    made = head_package.run(replace(recipe, **fields))  # type: ignore[arg-type]
    return load_folder(Path(made["package"]))


@pytest.fixture(scope="module")
def upernet(skysense: Package, folder: Path) -> Package:
    return head(skysense, folder, "ms-upernet", "upernet", MS)


@pytest.fixture(scope="module")
def fcn(skysense: Package, folder: Path) -> Package:
    return head(skysense, folder, "fused-fcn", "fcn", "fused", window=64)


def write(path: Path, values: np.ndarray, names: tuple[str, ...], nodata: float) -> Path:
    count, height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=values.dtype, crs="EPSG:32631",
        nodata=nodata, transform=Affine(10, 0, 500_000, 0, -10, 4_700_000),
    ) as dataset:  # fmt: skip
        dataset.write(values)
        for band, name in enumerate(names):
            dataset.set_band_description(band + 1, name)
    return path


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A Sentinel-2-like raster with a hole, and two dates of a Sentinel-1-like one."""
    place, rng = tmp_path_factory.mktemp("scene"), np.random.default_rng(0)
    field = np.sin(np.arange(WIDTH) / 9) * np.cos(np.arange(HEIGHT) / 7)[:, None]
    optical = (1500 + 900 * field + 200 * rng.normal(size=(len(BANDS), HEIGHT, WIDTH))).clip(1, 9000).astype(np.uint16)
    optical[:, 20 : 20 + HOLE, 30 : 30 + HOLE] = 0
    radar = [(-12 + 4 * field + rng.normal(size=(2, HEIGHT, WIDTH))).astype(np.float32) for _ in range(2)]
    settings = "sensor=sentinel-2-l2a;date=2021-06-01;offset=0"
    found = {"ms": f"{write(place / 'ms.tif', optical, BANDS, 0)}::{settings}"}
    for number, values in enumerate(radar, start=1):
        path = write(place / f"sar{number}.tif", values, ("VV", "VH"), -9999)
        found[f"sar{number}"] = f"{path}::sensor=sentinel-1-grd;unit=db;date=2021-06-0{number}"
    return found


def classes_of(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read(1)


def test_a_map_from_one_input(upernet: Package, skysense: Package, scene: dict[str, str], tmp_path: Path) -> None:
    models = ["--model", skysense.root, "--model", upernet.root]
    done("segment", "--ms", scene["ms"], *models, "--output", tmp_path / "map.tif")
    found = classes_of(tmp_path / "map.tif")
    assert found.shape == (HEIGHT, WIDTH)
    hole = np.zeros(found.shape, bool)
    hole[20 : 20 + HOLE, 30 : 30 + HOLE] = True
    assert (found[hole] == 255).all() and set(np.unique(found[~hole])) <= {0, 1, 5}


def test_two_heads_share_a_pass(
    upernet: Package, fcn: Package, skysense: Package, scene: dict[str, str], tmp_path: Path
) -> None:
    inputs = ["--ms", scene["ms"], "--sar", scene["sar1"], "--sar", scene["sar2"]]
    base = ["--model", skysense.root]
    both = done(
        "segment", *inputs, *base, "--model", upernet.root, "--model", fcn.root, "--output", tmp_path / "both.tif"
    )
    assert [Path(path).name for path in both["outputs"]["classes"]] == ["both-ms-upernet.tif", "both-fused-fcn.tif"]
    done("segment", *inputs, *base, "--model", fcn.root, "--output", tmp_path / "fcn.tif")
    done("segment", "--ms", scene["ms"], *base, "--model", upernet.root, "--output", tmp_path / "upernet.tif")
    shared, alone = classes_of(tmp_path / "both-fused-fcn.tif"), classes_of(tmp_path / "fcn.tif")
    # Radar alone serves the joined map; a pass that is shared has no result where one head has none.
    assert 255 not in alone and (shared == 255).sum() == HOLE**2
    np.testing.assert_array_equal(shared[shared != 255], alone[shared != 255])
    np.testing.assert_array_equal(classes_of(tmp_path / "both-ms-upernet.tif"), classes_of(tmp_path / "upernet.tif"))


def test_an_input_that_no_head_looks_at_is_refused(
    upernet: Package, skysense: Package, scene: dict[str, str], tmp_path: Path
) -> None:
    models = ["--model", skysense.root, "--model", upernet.root]
    outcome = earthprism("segment", "--sar", scene["sar1"], *models, "--output", tmp_path / "map.tif")
    assert outcome.code == 2 and "takes no SAR input" in outcome.err


def test_radar_alone_fills_the_joined_map(
    fcn: Package, skysense: Package, scene: dict[str, str], tmp_path: Path
) -> None:
    models = ["--model", skysense.root, "--model", fcn.root]
    done("segment", "--sar", scene["sar1"], *models, "--output", tmp_path / "map.tif")
    assert 255 not in classes_of(tmp_path / "map.tif")


@pytest.mark.parametrize(
    ("kind", "features", "fields"),
    [
        ("bit", MS, {"task": "change", "arguments": "", "classes": "0:same:#ffffff,1:changed:#d7301f"}),
        ("upernet-semantic-change", MS, {"task": "change"}),
        ("scene-classifier", "image", {"task": "classify", "window": 64, "arguments": ""}),
        ("faster-rcnn", "hr_1,hr_2,hr_3,hr_4", {"task": "detect", "arguments": "width=16,hidden=32"}),
        ("oriented-rcnn", "hr_1,hr_2,hr_3,hr_4", {"task": "detect", "arguments": "width=16,hidden=32"}),
    ],
)
def test_every_kind_of_head_is_a_package_but_no_class_map(
    skysense: Package, scene: dict[str, str], tmp_path: Path, kind: str, features: str, fields: dict[str, object]
) -> None:
    package = head(skysense, tmp_path, f"a-{kind}", kind, features, **fields)
    assert all(check.ok for check in verify(package))
    models = ["--model", skysense.root, "--model", package.root]
    outcome = earthprism("segment", "--ms", scene["ms"], *models, "--output", tmp_path / "map.tif")
    assert outcome.code == 2 and "makes no class map" in outcome.err


@pytest.mark.slow
def test_both_runtimes_make_the_same_map(
    scene: dict[str, str], exported: Callable[[str], Package], tmp_path: Path
) -> None:
    """SMARTIES and a linear map, exported; int8 stays within what its package allows."""
    encoder = exported("smarties-tiny")
    fields = {"graphs": "fp32,int8", "arguments": ""}
    linear = head(encoder, tmp_path, "s2-linear", "linear-map", "s2_4", **fields)
    for package in (encoder, linear):
        checks = [check for check in verify(package) if check.difference is not None]
        assert {check.runtime for check in checks} == {"onnxruntime", "torch"}
        assert all(check.ok for check in checks), [check.sentence() for check in checks]
    models = ["--model", encoder.root, "--model", linear.root]
    found = {}
    for runtime in ("onnxruntime", "torch"):
        outputs = ["--output", tmp_path / f"{runtime}.tif", "--probabilities", tmp_path / f"{runtime}-p.tif"]
        done("segment", "--ms", scene["ms"], *models, *outputs, "--runtime", runtime, "--precision", "fp32")
        with rasterio.open(tmp_path / f"{runtime}-p.tif") as dataset:
            found[runtime] = dataset.read().astype(int)
    assert np.abs(found["onnxruntime"] - found["torch"]).max() <= 1  # of 250 levels


@pytest.mark.slow
@pytest.mark.timeout(900)  # may export four graphs of an encoder
def test_two_heads_of_one_pass_make_the_same_maps_in_both_runtimes(
    scene: dict[str, str], exported: Callable[[str], Package], tmp_path: Path
) -> None:
    """SkySense V2: a head on one input and a head on all joined, of two dates of radar."""
    encoder = exported("skysense-v2-tiny")
    heads = [
        head(encoder, tmp_path, "ms-upernet", "upernet", MS, graphs="fp32", arguments="width=64"),
        head(encoder, tmp_path, "fused-fcn", "fcn", "fused", graphs="fp32", window=64),
    ]
    inputs = ["--ms", scene["ms"], "--sar", scene["sar1"], "--sar", scene["sar2"]]
    models = [part for package in (encoder, *heads) for part in ("--model", package.root)]
    found = {}
    for runtime in ("onnxruntime", "torch"):
        outputs = ["--output", tmp_path / f"{runtime}.tif", "--probabilities", tmp_path / f"{runtime}-p.tif"]
        result = done("segment", *inputs, *models, *outputs, "--runtime", runtime, "--precision", "fp32")
        stored = []
        for path in result["outputs"]["probabilities"]:
            with rasterio.open(path) as dataset:
                stored.append(dataset.read().astype(int))
        assert len(stored) == 2
        found[runtime] = np.stack(stored)
    assert np.abs(found["onnxruntime"] - found["torch"]).max() <= 1  # of 250 levels
