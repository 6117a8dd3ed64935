"""Which dates of a series are used, and what is said of the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.geo.grid import Grid
from backend.manifest.package import BandNeed, InputSlot
from backend.protocol.errors import GridError, InputError
from backend.protocol.jobs import AreaSpec, GridSpec, InputSpec
from backend.sensors.resolve import Conversion, ResolvedInput
from backend.tasks.inputs import SlotInput
from backend.tasks.place import find_place
from backend.tasks.series import arrange_series
from tests.rasters import LEFT, source_of, utm_grid, write_raster

HERE, THERE = utm_grid(40, 30), utm_grid(40, 30, left=LEFT + 90_000)


def series(
    folder: Path, rasters: dict[str, tuple[Grid, float]], most: int = 10, fewest: int = 1, modality: str = "ms"
) -> SlotInput:
    """One raster per date: where it lies, and the share of its rows that hold data."""
    specs, resolved = [], []
    for day, (grid, share) in rasters.items():
        values = np.zeros((1, grid.height, grid.width), np.uint8)
        values[:, : round(share * grid.height)] = 1
        path = write_raster(folder / f"{modality}-{day}.tif", values, grid)
        specs.append(InputSpec(modality, (path,)))
        resolved.append(ResolvedInput(source_of(path, nodata=0), (Conversion(),), None, day, present=(True,)))
    slot = InputSlot(modality, modality, (), (BandNeed("B1"),), "dn", 64, dates=(fewest, most), temporal=True)
    return SlotInput(slot, tuple(specs), tuple(resolved))


def days(item: SlotInput) -> list[str | None]:
    return [resolved.date for resolved in item.resolved]


def test_dates_come_in_order_of_time_whatever_the_order_they_were_given_in(tmp_path: Path) -> None:
    (item,) = arrange_series([series(tmp_path, {"2024-07-01": (HERE, 1), "2023-08-01": (HERE, 1)})])
    assert days(item) == ["2023-08-01", "2024-07-01"] and item.notes == ()
    assert [Path(spec.paths[0]).name for spec in item.specs] == ["ms-2023-08-01.tif", "ms-2024-07-01.tif"]


@pytest.mark.parametrize("main_first", [True, False])
def test_a_date_that_lies_elsewhere_is_left_out_and_named(tmp_path: Path, main_first: bool) -> None:
    """Also when it is the first one of the main input: the scene is where most rasters lie."""
    dates = {"2024-01-01": (THERE, 1.0), "2024-05-01": (HERE, 1.0), "2024-06-01": (HERE, 1.0)}
    scattered = series(tmp_path, dates)
    radar = series(tmp_path, {"2024-05-02": (HERE, 1.0)}, modality="sar")
    found = arrange_series([scattered, radar] if main_first else [radar, scattered])
    item = found[0 if main_first else 1]
    assert days(item) == ["2024-05-01", "2024-06-01"]
    assert len(item.notes) == 1 and 'ms-2024-01-01.tif" lies outside the scene and is left out' in item.notes[0]
    assert find_place(found, GridSpec(), AreaSpec()).scene.bounds == HERE.bounds


def test_dates_that_lie_elsewhere_take_no_place_of_others(tmp_path: Path) -> None:
    dates = {"2024-05-01": (HERE, 1.0), "2024-05-02": (THERE, 1.0), "2024-05-03": (HERE, 1.0)}
    (item,) = arrange_series([series(tmp_path, dates, most=2)])
    assert days(item) == ["2024-05-01", "2024-05-03"]


def test_a_series_of_which_nothing_lies_in_the_scene_is_refused(tmp_path: Path) -> None:
    main = series(tmp_path, {"2024-05-02": (HERE, 1.0)}, modality="sar")
    far = series(tmp_path, {"2024-05-01": (THERE, 1.0), "2024-06-01": (THERE, 1.0)})
    with pytest.raises(GridError, match="do not overlap"):
        find_place(arrange_series([main, far]), GridSpec(), AreaSpec())


def test_too_few_dates_of_the_place_are_refused(tmp_path: Path) -> None:
    dates = {"2024-01-01": (THERE, 1.0), "2024-05-01": (HERE, 1.0), "2024-06-01": (HERE, 1.0)}
    with pytest.raises(InputError, match="too few dates of this place"):
        arrange_series([series(tmp_path, dates, fewest=3)])


def test_of_too_many_optical_dates_the_most_complete_of_each_part_of_the_year(tmp_path: Path) -> None:
    dates = {"2024-01-10": (HERE, 0.9), "2024-02-10": (HERE, 1.0), "2024-03-10": (HERE, 0.5), "2024-09-10": (HERE, 0.8)}
    (item,) = arrange_series([series(tmp_path, dates, most=2)])
    assert days(item) == ["2024-02-10", "2024-09-10"]
    assert "takes 2 at most: 2024-02-10, 2024-09-10 are used" in item.notes[0]


def test_where_no_optical_date_is_complete_the_best_one_is_used(tmp_path: Path) -> None:
    dates = {"2024-01-10": (HERE, 0.1), "2024-02-10": (HERE, 0.4), "2024-03-10": (HERE, 0.3)}
    (item,) = arrange_series([series(tmp_path, dates, most=2)])
    assert days(item) == ["2024-02-10"] and "the one with most data" in item.notes[0]


def test_of_too_many_radar_dates_some_are_spread_over_the_period(tmp_path: Path) -> None:
    dates = {f"2024-{month:02d}-01": (HERE, 1.0) for month in (1, 2, 3, 4, 7)}
    (item,) = arrange_series([series(tmp_path, dates, most=3, modality="sar")])
    assert days(item) == ["2024-01-01", "2024-04-01", "2024-07-01"] and "spread over the period" in item.notes[0]


def test_what_is_no_series_is_refused(tmp_path: Path) -> None:
    item = series(tmp_path, {"2024-01-10": (HERE, 1.0), "2024-02-10": (HERE, 1.0)})
    for date, words in ((None, "is not known"), ("2024-01-10", "are of the same date")):
        wrong = replace(item, resolved=(item.resolved[0], replace(item.resolved[1], date=date)))
        with pytest.raises(InputError, match=words):
            arrange_series([wrong])
