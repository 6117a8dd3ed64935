"""What a model is told beside pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.manifest.package import InputSlot
from backend.protocol.jobs import InputSpec
from backend.runtime.packing import skysense_v2
from backend.sensors.resolve import Conversion, ResolvedInput
from backend.tasks.companions import companion_feeds
from backend.tasks.inputs import SlotInput
from tests.rasters import source_of, utm_grid, write_raster


@pytest.fixture
def raster(tmp_path: Path) -> str:
    return write_raster(tmp_path / "a.tif", np.zeros((1, 8, 8), np.uint8), utm_grid(8, 8))


def given(slot: InputSlot, raster: str, *dates: str | None) -> SlotInput:
    """The same raster at several dates, with every other band of the slot."""
    present = tuple(index % 2 == 0 for index in range(len(slot.bands)))
    resolved = tuple(ResolvedInput(source_of(raster), (Conversion(),), None, date, present=present) for date in dates)
    return SlotInput(slot, (InputSpec(slot.modality, (raster,)),) * len(dates), resolved)


@pytest.mark.parametrize(("date", "day"), [("2024-05-01", 122), ("2023-12-31T10:30:00Z", 365), (None, 0)])
def test_a_single_image_of_high_resolution_tells_its_day_too(raster: str, date: str | None, day: int) -> None:
    """Entries of the fusion without a date get no code of the day: 0 stands for them (skysense-v2.md, 8)."""
    slots = skysense_v2.describe("tiny", "tiny", "1.0.0", "Tiny").inputs
    items = [given(slots[0], raster, date), given(slots[1], raster, "2024-01-01", "2024-12-31")]
    found = companion_feeds(items, [item.feed(64, 16) for item in items])(2)
    np.testing.assert_array_equal(found["hr_days"], [[day]] * 2)
    np.testing.assert_array_equal(found["ms_days"], [[1, 366]] * 2)
    assert all(values.dtype == np.float32 for values in found.values())


def test_validity_is_made_only_where_the_pipeline_does_not_read_it(raster: str) -> None:
    slot = replace(skysense_v2.describe("tiny", "tiny", "1.0.0", "Tiny").inputs[1], bands_input="ms_bands")
    item = given(slot, raster, "2024-01-01", "2024-12-31")
    read, made = (companion_feeds([item], [item.feed(64, cells)])(1) for cells in (16, 0))
    assert "ms_valid" not in read
    np.testing.assert_array_equal(made["ms_valid"], [[1, 1]])
    np.testing.assert_array_equal(made["ms_bands"], [[1, 0] * 5])
