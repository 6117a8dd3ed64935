"""Spectral ranges, interpolation and the bands of other sensors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.models.encoders import smarties_spectrum as spectrum
from backend.protocol.errors import ParameterError


def test_the_table_is_whole() -> None:
    rows = spectrum.ranges()
    assert sorted(row.index for row in rows.values()) == [-1, *range(19)]
    assert all(isinstance(row.low_nm, float) and row.low_nm < row.high_nm for row in rows.values())
    assert spectrum.centres()[15] == spectrum.centres()[16] == 5.55e7


def test_range_keys_are_not_in_band_order() -> None:
    names = [spectrum.range_of(key).band.split()[0] for key in spectrum.band_sets()["S2"]]
    assert names == ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]


def test_thirteen_bands_lose_cirrus() -> None:
    positions, keys = spectrum.selected(spectrum.band_sets()["S2-L1C"])
    assert keys == spectrum.band_sets()["S2"]
    assert positions == (*range(10), 11, 12)


def test_the_range_without_a_layer_is_refused_by_name() -> None:
    for refused in (lambda: spectrum.blend("short_wave_infrared_2"), lambda: spectrum.blend(spectrum.keys_of([-1])[0])):
        with pytest.raises(ParameterError, match=r"B10 \(SWIR cirrus\)"):
            refused()


def test_unknown_names_are_refused() -> None:
    for call in (
        lambda: spectrum.blend("ultraviolet"),
        lambda: spectrum.blend("blue_2", "cubic"),
        lambda: spectrum.keys_of([19]),
        lambda: spectrum.mapped_blend("Sputnik", "B1"),
        lambda: spectrum.mapped_blend("HLS", "B99"),
    ):
        with pytest.raises(ParameterError):
            call()


def test_released_interpolation_favours_the_farther_layer() -> None:
    # The published distances of section 9: 39.5 and 10.5 nm.
    assert spectrum.blend("blue_2") == ((0, pytest.approx(0.79)), (1, pytest.approx(0.21)))
    assert spectrum.blend("blue_2", "linear") == ((0, pytest.approx(0.21)), (1, pytest.approx(0.79)))
    assert dict(spectrum.blend("thermal_infrared_1"))[14] == pytest.approx(0.000156871, abs=1e-9)


def test_new_ranges_take_their_neighbours() -> None:
    # 2000 nm lies between SWIR 1 (1610, layer 13) and SWIR 2 (2189, layer 14).
    assert dict(spectrum.interpolate(2000, "linear")) == {13: pytest.approx(189 / 579), 14: pytest.approx(390 / 579)}
    assert dict(spectrum.interpolate(2000)) == {13: pytest.approx(390 / 579), 14: pytest.approx(189 / 579)}
    assert spectrum.interpolate(1610) == ((13, 1.0),)
    assert spectrum.interpolate(5.55e7) == ((15, 1.0),)


@pytest.mark.parametrize("centre", [442.4, 1.0, 5.56e7])
def test_nothing_is_extrapolated(centre: float) -> None:
    with pytest.raises(ParameterError, match="does not extrapolate"):
        spectrum.interpolate(centre)


@given(st.floats(442.5, 5.55e7), st.sampled_from(spectrum.MODES))
def test_weights_are_a_convex_combination(centre: float, mode: str) -> None:
    pairs = spectrum.interpolate(centre, mode)
    assert all(0 <= weight <= 1 for _, weight in pairs)
    assert sum(weight for _, weight in pairs) == pytest.approx(1)
    if mode == "linear":
        assert sum(spectrum.centres()[layer] * weight for layer, weight in pairs) == pytest.approx(centre)


def test_bands_of_other_sensors() -> None:
    assert spectrum.mapped_blend("Landsat-8/9", "B9") is None
    assert spectrum.mapped_blend("Landsat-8/9", "B2") == spectrum.blend("blue_2")
    assert spectrum.mapped_blend("HLS", "B8A") == ((11, 1.0),)
    # B11 goes between the layers of B10 with its own centre, 12 005 nm.
    assert dict(spectrum.mapped_blend("Landsat-8/9", "B11") or ())[14] == pytest.approx(9816 / 55_497_811, rel=1e-6)
    for bands in spectrum.mapping().values():
        assert all(row["range"] is None or spectrum.range_of(row["range"]).index >= 0 for row in bands.values())


def test_mapped_intervals_overlap_their_range() -> None:
    for bands in spectrum.mapping().values():
        for row in bands.values():
            if "interval_nm" in row and "centre_nm" not in row:
                low, high = row["interval_nm"]
                found = spectrum.range_of(row["range"])
                assert low <= found.high_nm and high >= found.low_nm
