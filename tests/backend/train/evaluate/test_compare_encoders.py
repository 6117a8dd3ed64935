"""Comparing a trained encoder with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.models import encoders
from backend.models.load import save_weights
from backend.train import __main__ as program
from backend.train.evaluate.comparison import compared
from backend.train.evaluate.features import picture_features
from backend.train.evaluate.labelled import Scenes
from backend.train.evaluate.report import confusion, confusion_picture, table


def generated(count: int = 60) -> Scenes:
    """Two classes; half of the pictures are for training, two to a place."""
    labels = np.arange(count) % 2
    places = tuple(f"place {number // 2}" for number in range(count))
    picture = np.zeros((3, 8, 8), np.uint8)
    return Scenes("generated", ("dark", "light"), (picture,) * count, labels, places, np.arange(count) < count // 2)


def test_features_that_tell_the_classes_apart_win() -> None:
    labelled = generated()
    noise = np.random.default_rng(0).normal(size=(60, 4))
    good = noise + np.eye(4)[:2][labelled.labels] * 20
    rows = compared(labelled, {"good": good, "noise": noise}, (0, 1))
    assert {row.probe for row in rows} == {"kNN", "linear"} and all(row.samples == 30 for row in rows)
    for row in rows:
        if "per class" in row.protocol:
            continue  # of a few samples noise may look like the better sign
        assert row.scores["good"].value == 1.0 and row.places == 15
        assert row.difference.low > 0
        assert row.difference.value == pytest.approx(1 - row.scores["noise"].value)


def test_both_encoders_give_one_feature_per_picture_whatever_its_size() -> None:
    pictures = [np.random.default_rng(n).integers(0, 255, (3, size, size), np.uint8) for n, size in enumerate((40, 64))]
    for name, size, width in (("skysense-v2-tiny", 64, 256), ("smarties-tiny", 64, 128)):
        encoder = encoders.build(name, seed=0)
        features = picture_features(encoder, pictures, size)
        assert features.shape == (2, width) and np.isfinite(features).all()
        np.testing.assert_allclose(features[1:], picture_features(encoder, pictures[1:], size), atol=1e-5)


def test_the_confusion_matrix_has_the_truth_in_rows() -> None:
    counts = confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    assert counts.tolist() == [[1, 1], [0, 1]]
    image = confusion_picture(counts, ("water", "land"))
    assert image.dtype == np.uint8 and image.shape[2] == 3
    assert table(["a"], [["x | y"]]) == "| a |\n| --- |\n| x / y |\n"


def test_a_report_on_the_kit(kit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    save_weights(encoders.build("skysense-v2-tiny", seed=3), tmp_path / "weights.safetensors")
    options = ["--data", str(kit), "--output", str(tmp_path / "report"), "--seeds", "0", "--tasks", "rsvqa_lr"]
    options += ["--size", "32", "--weights", str(tmp_path / "weights.safetensors")]
    assert program.main(["compare_encoders", *options]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["task"] for row in rows} == {"rsvqa_lr"} and all(0 <= row["trained"]["value"] <= 1 for row in rows)
    text = (tmp_path / "report" / "report.md").read_text()
    assert "logistic regression" in text and "scripts/python -m backend.train" in text
    assert (tmp_path / "report" / "confusion-rsvqa_lr.png").is_file()
    assert program.main(["compare_encoders", *options[:4], "--tasks", "trees"]) == 2
