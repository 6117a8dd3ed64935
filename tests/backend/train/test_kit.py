"""The reader of the data kit, and the metric against the kit's own floor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.protocol.errors import ParameterError
from backend.train.data import kit as reader
from backend.train.evaluate.segmentation import block_counts, iou, pooled
from backend.train.recipes.water_baseline import BANDS, BLOCK, SETUPS, ndwi, training_chips


def test_a_folder_that_is_no_kit(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"splits\.csv"):
        reader.read_splits(tmp_path, "boadella_s2", "other_date")


@pytest.mark.kit
def test_optical_training_never_sees_the_test_date(kit: Path) -> None:
    names = [chip.name for chip in training_chips(kit, "s2", SETUPS["s2"])]
    assert names == ["S2_L2A_boadella_2020-02-02", "S2_L2A_boadella_2020-06-21"]


@pytest.mark.kit
def test_radar_training_uses_the_six_scoreable_chips(kit: Path) -> None:
    chips = training_chips(kit, "s1", SETUPS["s1"])
    assert len(chips) == 6
    assert not {chip.group.split("_")[0] for chip in chips} & {"Ghana", "Paraguay"}
    assert sum(int((chip.label >= 0).sum()) for chip in chips) == 1483213  # as in floors.csv


@pytest.mark.kit
def test_the_rule_reaches_its_floor(kit: Path) -> None:
    splits = reader.read_splits(kit, "boadella_s2", "other_date")
    chip = next(reader.boadella(kit, split, BANDS) for split in splits if split.split == "test")
    assert 0 < np.median(chip.image) < 1
    assert pooled(iou, block_counts(ndwi(chip), chip.label, BLOCK)).value == pytest.approx(0.930, abs=5e-4)


@pytest.mark.kit
def test_halves_are_cut(kit: Path) -> None:
    splits = reader.read_splits(kit, "boadella_s2", "halves")
    chips = [reader.boadella(kit, split, BANDS) for split in splits if split.note.startswith("test date")]
    assert [chip.label.shape for chip in chips] == [(377, 185), (377, 185)]
    assert sum(chip.label.size for chip in chips) == 139490  # as in floors.csv
