"""Where a job works: grid of the model, wanted area, grid of the result."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform

from backend.geo.grid import Grid, Window
from backend.manifest.package import BandNeed, InputSlot
from backend.protocol.errors import GridError, InputError, ParameterError
from backend.protocol.jobs import AreaSpec, GridSpec, InputSpec, MaskSpec
from backend.sensors.resolve import Conversion, ResolvedInput
from backend.tasks.inputs import SlotInput
from backend.tasks.place import Place, describe_place, find_place
from tests.rasters import LEFT, TOP, UTM32, UTM33, WGS84, source_of, utm_grid, write_raster

EVERYWHERE = AreaSpec()


def slot_input(
    *paths: str,
    gsd: tuple[float, float] = (0.0, float("inf")),
    required: bool = True,
    modality: str = "ms",
    size: int = 64,
) -> SlotInput:
    """A model input of one band, fed by one mosaic."""
    slot = InputSlot("image", modality, (), (BandNeed("B1"),), "dn", size, gsd_m=gsd, required=required)
    resolved = ResolvedInput(source_of(*paths), (Conversion(),), None, None)
    return SlotInput(slot, (InputSpec("ms", paths),), (resolved,))


@pytest.fixture
def scene(tmp_path: Path) -> str:
    return empty(tmp_path / "scene.tif", utm_grid(100, 80))


def empty(path: Path, grid: Grid) -> str:
    return write_raster(path, np.zeros((1, grid.height, grid.width), np.uint8), grid)


def sparse(path: Path, grid: Grid) -> str:
    """A raster without a written block, however large."""
    with rasterio.open(
        path, "w", driver="GTiff", width=grid.width, height=grid.height, count=1, dtype="uint8", crs=grid.crs,
        transform=grid.transform, tiled=True, sparse_ok=True, bigtiff="YES",
    ):  # fmt: skip
        pass
    return str(path)


def test_by_default_the_finest_raster_as_it_lies(scene: str) -> None:
    place = find_place([slot_input(scene)], GridSpec(), EVERYWHERE)
    assert place == Place(utm_grid(100, 80), Window(0, 0, 100, 80), None)


def test_a_second_input_limits_the_area_only_when_it_is_required(scene: str, tmp_path: Path) -> None:
    other = empty(tmp_path / "other.tif", utm_grid(100, 80, left=LEFT + 300, top=TOP - 200))
    for required, area in ((True, Window(30, 20, 70, 60)), (False, Window(0, 0, 100, 80))):
        place = find_place([slot_input(scene), slot_input(other, required=required)], GridSpec(), EVERYWHERE)
        assert place.scene == utm_grid(100, 80) and place.area == area


def test_extent_in_another_crs(scene: str) -> None:
    xs, ys = transform(UTM33, WGS84, [LEFT + 205, LEFT + 395], [TOP - 395, TOP - 205])
    place = find_place(
        [slot_input(scene)], GridSpec(), AreaSpec(extent=(xs[0], ys[0], xs[1], ys[1]), extent_crs="EPSG:4326")
    )
    assert abs(np.subtract(astuple(place.area), (20, 20, 20, 20))).max() <= 2 and len(place.limits) == 1


def test_another_crs_is_made_of_the_models_grid(scene: str) -> None:
    place = find_place([slot_input(scene)], GridSpec(crs="EPSG:32632"), EVERYWHERE)
    assert place.scene.crs == UTM32 and place.result is None
    coarse = find_place([slot_input(scene, gsd=(9, 11))], GridSpec(resolution=40.0), EVERYWHERE)
    assert coarse.scene == utm_grid(100, 80)
    assert coarse.result is not None and coarse.result.pixel_size == (40.0, 40.0)
    assert "the model works at 10 m" in coarse.notes[0] and "40 m" in coarse.notes[0]


def test_the_models_own_pixel_size(scene: str) -> None:
    place = find_place([slot_input(scene, gsd=(19, 21))], GridSpec(reference="model"), EVERYWHERE)
    assert place.scene.pixel_size == pytest.approx((19.97, 19.97), abs=0.01) and "resampled" in place.notes[0]
    assert place.result is None or place.result.pixel_size == (10.0, 10.0)


def test_pixels_that_the_model_does_not_know_are_resampled_when_that_is_not_far(scene: str) -> None:
    finer = find_place([slot_input(scene, gsd=(19, 21))], GridSpec(), EVERYWHERE)
    assert finer.scene.pixel_size == pytest.approx((19, 19)) and finer.result == utm_grid(100, 80)
    assert "has 10 m and is resampled to 19 m: the model was made for pixels of 19 to 21 m" in finer.notes[0]
    coarser = find_place([slot_input(scene, gsd=(4, 6))], GridSpec(), EVERYWHERE)
    assert coarser.scene.pixel_size == pytest.approx((6, 6)) and coarser.result == utm_grid(100, 80)
    for gsd in ((0.5, 4), (90, 110)):
        with pytest.raises(GridError, match="made for pixels of"):
            find_place([slot_input(scene, gsd=gsd)], GridSpec(), EVERYWHERE)


def test_inputs_beside_each_other_want_pixels_that_go_together(tmp_path: Path) -> None:
    """A window has 512 pixels of high resolution for 64 of radar: its 5 to 40 m are 0.625 to 5 m of that."""
    radar = empty(tmp_path / "sar.tif", utm_grid(20, 16, pixel=10.0))

    def place_of(pixel: float) -> Place:
        fine = empty(tmp_path / f"{pixel}.tif", utm_grid(40, 32, pixel=pixel))
        hr = slot_input(fine, gsd=(0.05, 2.5), modality="hr", size=512)
        return find_place([hr, slot_input(radar, gsd=(5, 40), modality="sar")], GridSpec(), EVERYWHERE)

    near = place_of(4.5)
    assert near.scene.pixel_size == pytest.approx((2.5, 2.5))
    assert "has 4.5 m and is resampled to 2.5 m" in near.notes[0] and "beside SAR" in near.notes[0]
    assert place_of(1.25).notes == ()
    with pytest.raises(GridError, match=r"0\.625 to 2\.5 m of the high-resolution optical input beside SAR") as far:
        place_of(8.0)
    assert "--grid model" in far.value.fix and "leave" not in far.value.fix
    with pytest.raises(GridError, match=r"has 0\.06 m") as fine:
        place_of(0.06)
    assert "leave SAR out" in fine.value.fix


def test_a_second_input_that_is_much_too_coarse_is_named(scene: str, tmp_path: Path) -> None:
    for pixel, notes in ((15.0, []), (60.0, ["the SAR input has 60 m and is enlarged to 10 m"])):
        radar = empty(tmp_path / f"{pixel}.tif", utm_grid(20, 16, pixel=pixel))
        place = find_place([slot_input(scene), slot_input(radar, modality="sar")], GridSpec(), EVERYWHERE)
        assert list(place.notes) == notes


def test_the_grid_of_another_raster(scene: str, tmp_path: Path) -> None:
    reference = empty(tmp_path / "reference.tif", utm_grid(40, 40, pixel=20.0, left=LEFT - 100, top=TOP + 60))
    place = find_place([slot_input(scene)], GridSpec(reference=reference), EVERYWHERE)
    assert place.scene.pixel_size == (20.0, 20.0)
    assert (place.scene.transform.c - LEFT) % 20 == 0 and (TOP - place.scene.transform.f) % 20 == 0
    far = empty(tmp_path / "far.tif", utm_grid(4, 4, left=LEFT + 90_000))
    with pytest.raises(GridError, match="does not overlap"):
        find_place([slot_input(scene)], GridSpec(reference=far), EVERYWHERE)


@pytest.mark.parametrize(
    ("grid", "area", "kind", "words"),
    [
        (GridSpec(resolution=-1.0), EVERYWHERE, ParameterError, "makes no sense"),
        (GridSpec(crs="EPSG:4326", resolution=10.0), EVERYWHERE, ParameterError, "in that unit"),
        (GridSpec(crs="EPSG:0"), EVERYWHERE, InputError, "EPSG:0"),
        (GridSpec(), AreaSpec(extent=(0, 0, 1, 1)), ParameterError, "--extent-crs"),
        (GridSpec(), AreaSpec(extent=(0, 0, 1, 1), extent_crs="EPSG:4326"), GridError, "lies outside the scene"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    scene: str, grid: GridSpec, area: AreaSpec, kind: type[InputError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        find_place([slot_input(scene)], grid, area)


def test_rasters_of_different_places(scene: str, tmp_path: Path) -> None:
    far = empty(tmp_path / "far.tif", utm_grid(10, 10, left=LEFT + 90_000))
    with pytest.raises(GridError, match="the rasters do not overlap"):
        find_place([slot_input(scene), slot_input(far)], GridSpec(), EVERYWHERE)


def test_rasters_that_are_scattered_over_a_continent(tmp_path: Path) -> None:
    # 1.6e11 pixels; the area of interest makes it a job of one chip.
    near = empty(tmp_path / "near.tif", utm_grid(100, 100, pixel=1.0))
    far = empty(tmp_path / "far.tif", utm_grid(100, 100, pixel=1.0, left=LEFT + 400_000, top=TOP - 400_000))
    with pytest.raises(GridError, match="too far apart"):
        find_place([slot_input(near, far)], GridSpec(), EVERYWHERE)
    chip = AreaSpec(extent=(LEFT, TOP - 100, LEFT + 100, TOP), extent_crs="EPSG:32633")
    assert find_place([slot_input(near, far)], GridSpec(), chip).area == Window(0, 0, 100, 100)
    full = sparse(tmp_path / "full.tif", utm_grid(400_100, 400_100, pixel=1.0))
    assert find_place([slot_input(full)], GridSpec(), EVERYWHERE).area == Window(0, 0, 400_100, 400_100)


def test_the_description_tells_places_apart(scene: str, tmp_path: Path) -> None:
    whole = find_place([slot_input(scene)], GridSpec(), EVERYWHERE)
    area = AreaSpec(extent=(LEFT, TOP - 100, LEFT + 100, TOP), extent_crs="EPSG:32633")
    part = find_place([slot_input(scene)], GridSpec(), area)
    mask = MaskSpec(empty(tmp_path / "mask.tif", utm_grid(100, 80)), (1,))
    jobs = [(whole, EVERYWHERE, None), (part, area, None), (whole, EVERYWHERE, mask)]
    described = [describe_place(*job) for job in jobs]
    assert described[0] == describe_place(find_place([slot_input(scene)], GridSpec(), EVERYWHERE), EVERYWHERE, None)
    assert len({repr(one) for one in described}) == 3 and described[1]["area"] == [0, 0, 10, 10]
