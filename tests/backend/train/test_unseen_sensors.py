"""Sensors that SMARTIES never saw become inputs of a package, band by band through their wavelengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from backend.models.encoders.smarties_preprocess import statistics_of
from backend.models.encoders.smarties_spectrum import interpolate, ranges_of
from backend.models.load import initialise
from backend.models.registry import build
from backend.protocol.errors import ParameterError
from backend.protocol.jobs import InputSpec
from backend.tasks.inputs import match_inputs
from backend.train.recipes.encoder_package import EncoderPackage, describe
from backend.train.unseen_sensors import unseen_input
from tests.rasters import utm_grid, write_raster

BANDS = ("coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir")


def test_a_sensor_that_was_never_seen_is_taken_by_wavelength(tmp_path: Path) -> None:
    """smarties.md, 9: between the trained ranges; statistics are those of the nearest one."""
    package = describe(EncoderPackage("smarties-tiny", "", inputs=("s2", "planetscope-8")))
    slot = package.slot("planetscope_8")
    assert slot.sensors == ("planetscope-8",) and slot.modality == "hr" and slot.gsd_m[0] <= 3.0 <= slot.gsd_m[1]
    # The coastal band, 441.5 nm, lies below the shortest trained one.
    assert [need.name for need in slot.bands] == ["blue", "green_i", "green", "yellow", "red", "rededge", "nir"]

    parameters = package.variants[0].parameters
    keys = ranges_of(dict(zip(parameters["slots"], parameters["band_sets"], strict=True))["planetscope_8"])
    network = initialise(build("smarties", parameters, device="meta"), seed=0).eval()
    assert keys[3] == "610nm" and network.bands(keys)[3] == interpolate(610.0)
    statistics = {row.key: row for row in statistics_of("SENTINEL2-L2A")}
    minimum = slot.steps[0].minimum
    assert minimum is not None and minimum[5] == pytest.approx(statistics["red_edge_1"].p1 / 10_000)
    with torch.inference_mode():
        maps = network.compute("planetscope_8", torch.randn(1, 7, 224, 224), torch.ones(1, 7))
    assert maps[3].shape == (1, 128, 14, 14) and all(part.isfinite().all() for part in maps)

    path = write_raster(tmp_path / "planet.tif", np.full((8, 64, 64), 2000, np.uint16), utm_grid(64, 64, 3.0))
    spec = InputSpec("hr", (path,), "planetscope-8", "2019-05-01", BANDS, unit="surface-reflectance")
    (found,) = match_inputs((spec,), (package,), package.inputs)
    assert found.slot.name == "planetscope_8" and all(found.present)


@pytest.mark.parametrize(
    ("name", "message"),
    [("planetscope_9", "there is no input"), ("aerial_rgb", "no statistics"), ("hyperspectral", "no statistics")],
)
def test_a_sensor_without_reflectance_by_wavelength_is_refused(name: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        unseen_input(name)


def test_bands_outside_the_trained_ranges_stay_out() -> None:
    """The second short-wave band is centred beyond the last trained one; after it come only microwaves."""
    assert [need.name for need in unseen_input("landsat-8-l2").needs] == [f"SR_B{number}" for number in range(1, 7)]


def test_skysense_takes_no_further_inputs() -> None:
    with pytest.raises(ParameterError, match="leave --inputs out"):
        describe(EncoderPackage("skysense-v2-tiny", "", inputs=("planetscope-8",)))
