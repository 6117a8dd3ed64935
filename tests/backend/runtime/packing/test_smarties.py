"""What a SMARTIES package says of its inputs: every sensor has its ranges and the statistics of its own level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from backend.manifest.package import Package
from backend.models.encoders.smarties_preprocess import statistics_of
from backend.models.encoders.smarties_resize import resize
from backend.models.encoders.smarties_spectrum import mapped_blend, ranges_of
from backend.models.load import initialise
from backend.models.registry import build
from backend.protocol.errors import InputError
from backend.protocol.jobs import InputSpec
from backend.runtime.packing import smarties
from backend.tasks.inputs import match_inputs
from tests.rasters import utm_grid, write_raster


@pytest.fixture(scope="module")
def package() -> Package:
    return smarties.describe("tiny", "smarties", "1.0.0", "SMARTIES")


def raster(path: Path, bands: int, sensor: str, names: tuple[str, ...]) -> InputSpec:
    values = np.full((bands, 64, 64), 2000, np.uint16)
    path_of = (write_raster(path, values, utm_grid(64, 64)),)
    told = {"landsat-8-l2": {"unit": "collection-2"}, "landsat-8-l1": {"unit": "oli-reflectance"}}
    return InputSpec("ms", path_of, sensor, "2019-05-01", names, **told.get(sensor, {"offset": 0}))


S2 = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
LANDSAT = ("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7")


@pytest.mark.parametrize(
    ("sensor", "names", "slot"),
    [("sentinel-2-l2a", S2, "s2"), ("sentinel-2-l1c", S2, "s2_l1c"), ("landsat-8-l2", LANDSAT, "landsat")],
)
def test_a_raster_goes_to_the_input_of_its_sensor(
    package: Package, tmp_path: Path, sensor: str, names: tuple[str, ...], slot: str
) -> None:
    spec = raster(tmp_path / "scene.tif", len(names), sensor, names)
    (found,) = match_inputs((spec,), (package,), package.inputs)
    assert found.slot.name == slot and all(found.present)


def test_a_level_that_has_no_statistics_is_refused(package: Package, tmp_path: Path) -> None:
    names = ("B1", "B2", "B3", "B4", "B5", "B6", "B7")
    with pytest.raises(InputError, match="landsat-8-l1"):
        match_inputs((raster(tmp_path / "toa.tif", 7, "landsat-8-l1", names),), (package,), package.inputs)


@pytest.mark.parametrize(("slot", "table"), [("s2", "SENTINEL2-L2A"), ("s2_l1c", "SENTINEL2-L1C")])
def test_each_level_has_its_own_statistics(package: Package, slot: str, table: str) -> None:
    rescale, _, standardise = package.slot(slot).steps
    rows = [row for row in statistics_of(table) if row.used]
    assert rescale.minimum == pytest.approx([row.p1 / 10_000 for row in rows])
    assert standardise.mean == pytest.approx([row.mean for row in rows])


def test_landsat_bands_are_taken_for_the_ranges_of_the_published_table(package: Package) -> None:
    kinds = dict(zip(package.variants[0].parameters["slots"], package.variants[0].parameters["band_sets"], strict=True))
    encoder = initialise(build("smarties", package.variants[0].parameters, device="meta"), seed=0)
    found = encoder.bands(ranges_of(kinds["landsat"]))
    expected = [mapped_blend("Landsat-8/9", name.removeprefix("SR_")) for name in LANDSAT]
    assert list(found) == expected


def test_an_unseen_range_gives_features(package: Package) -> None:
    network = initialise(build("smarties", package.variants[0].parameters, device="meta"), seed=0).eval()
    image = torch.randn(2, 7, 56, 56)
    with torch.inference_mode():
        maps = network.compute("landsat", image, torch.ones(2, 7))
    assert maps[3].shape == (2, 128, 14, 14) and all(part.isfinite().all() for part in maps)


def test_the_exact_resizing_is_what_the_network_does_and_the_package_says() -> None:
    exact = smarties.describe("tiny", "x", "1.0.0", "X", resize=smarties.EXACT_RESIZE)
    fast = smarties.describe("tiny", "x", "1.0.0", "X")
    assert {slot.resize for slot in exact.inputs} == {"cubic"} and {slot.resize for slot in fast.inputs} == {"bilinear"}
    image = torch.randn(1, 2, 112, 112)
    there = torch.ones(1, 2)
    networks = [
        initialise(build("smarties", p.variants[0].parameters, device="meta"), seed=0).eval() for p in (exact, fast)
    ]
    with torch.inference_mode():
        found, other = (network.compute("s1", image, there)[3] for network in networks)
        enlarged = resize(image, 224, 224)
        expected = networks[1].features(enlarged, networks[1].bands(ranges_of("S1")), there, (3,)).maps[0]
    torch.testing.assert_close(found, expected)
    assert (found - other).abs().max() > 1e-3


def test_unknown_ranges_and_resizings_are_refused(package: Package) -> None:
    variant = package.variants[0]
    for change in ({"resize": "nearest"}, {"band_sets": ("S2", "S2", "violet", "S1", "RGB")}):
        with pytest.raises(InputError):
            network = build("smarties", {**variant.parameters, **change}, device="meta")
            network.bands(ranges_of(network.slots["landsat"]))
