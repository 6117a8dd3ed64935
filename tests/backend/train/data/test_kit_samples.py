"""What the data kit gives to pre-training: nothing that is tested on."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from backend.protocol.errors import ParameterError
from backend.train.data.crops import BANDS
from backend.train.data.kit_samples import kit_samples
from backend.train.data.sample import Sample
from backend.train.evaluate.labelled import TASKS, scenes

pytestmark = pytest.mark.kit


def test_no_image_that_is_tested_on_and_all_that_the_encoder_takes(kit: Path, kit_training: list[Sample]) -> None:
    keys = [sample.key for sample in kit_training]
    assert len(set(keys)) == len(keys)
    with (kit / "splits.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] in ("test", "val")]
    tested = {f"{row['part']}-{Path(path).stem}".replace(".", "-") for row in rows for path in row["path"].split("|")}
    assert not tested & set(keys) and tested
    parts = Counter(key.split("-")[0] for key in keys)
    assert (
        parts["naip_trees"] == 160 and parts["eurosat"] == 60 and parts["bigearthnet"] == 4 and parts["boadella"] == 20
    )
    for sample in kit_training:
        assert not sample.labels.keys() - {"group"}
        for name, series in sample.series.items():
            assert series.pixels.shape[1] == BANDS[name] and len(series.days) == len(series.pixels)
            assert series.valid.shape == (len(series.pixels), *series.pixels.shape[2:]) and series.valid.any()


def test_the_test_date_of_the_reservoir_is_left_out(kit_training: list[Sample]) -> None:
    tile = next(sample for sample in kit_training if sample.key.startswith("boadella"))
    days = tile.series["ms"].days
    assert len(days) == 6 and "2020-09-14" not in days and list(days) == sorted(days)
    assert 0 < float(tile.series["ms"].pixels.mean()) < 1  # reflectance


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="not the data kit"):
        list(kit_samples(tmp_path))


def test_labelled_pictures_are_seen_of_the_training_splits_alone(kit: Path, kit_training: list[Sample]) -> None:
    """What `compare_encoders` tests on; whose training and test pictures show different places."""
    for task, (part, _) in TASKS.items():
        labelled = scenes(kit, task)
        assert len(labelled.labels) == len(labelled.pictures) and labelled.train.any() and (~labelled.train).any()
        assert sum(sample.key.startswith(f"{part}-") for sample in kit_training) == labelled.train.sum()
        places = [set(np.array(labelled.groups)[chosen]) for chosen in (labelled.train, ~labelled.train)]
        assert task == "rsvqa_lr" or not places[0] & places[1]  # its patches share source scenes, not ground
