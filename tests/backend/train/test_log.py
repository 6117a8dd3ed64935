"""What a run folder says afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from backend.train import letters, pictures
from backend.train.log import RunLog, entries
from backend.train.objectives.objective import Losses
from backend.train.parallel.processes import Processes

ALONE = Processes(0, 1, torch.device("cpu"))


def loss(value: float, **counts: int) -> Losses:
    return Losses(torch.tensor(value), {"pixel": torch.tensor(value / 2)}, counts)


def read(path: Path) -> np.ndarray:
    """H x W x 3, by another implementation than the one that wrote it."""
    with rasterio.open(path) as dataset:
        return np.moveaxis(dataset.read(), 0, -1)


def write_some(folder: Path, first: int = 0) -> None:
    with RunLog(folder, ALONE, first, 10) as log:
        log.step(first, [loss(4.0, samples=2), loss(2.0, samples=2, several_modalities=1)], {"rate": 0.1}, write=False)
        log.step(first + 1, [], {"rate": 0.2}, write=False)
        log.step(first + 2, [loss(1.0, samples=4)], {"rate": 0.3}, write=True)
        log.step(first + 3, [], {"rate": 0.3}, write=True)
        log.curve()


def test_a_line_holds_means_of_losses_and_sums_of_what_was_seen(tmp_path: Path) -> None:
    write_some(tmp_path)
    line, empty = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert (line["step"], line["loss"], line["losses"]) == (3, 2.0, {"pixel": 1.0})  # one step of three was left out
    assert line["counts"] == {"samples": 8, "several_modalities": 1} and line["rate"] == 0.3
    assert line["samples_per_s"] > 0 and line["peak_memory_bytes"] > 1e7
    assert empty["loss"] is None and empty["losses"] == {}


def test_lines_after_the_step_that_a_run_goes_on_from_are_dropped(tmp_path: Path) -> None:
    write_some(tmp_path)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # died while writing
    write_some(tmp_path, first=3)
    assert [entry["step"] for entry in entries(tmp_path)] == [3, 6, 7]


def test_the_learning_curve_falls_where_the_loss_falls(tmp_path: Path) -> None:
    with RunLog(tmp_path, ALONE, 0, 100) as log:
        for step in range(100):
            log.step(step, [loss(10.0 - step / 11)], {}, write=True)
        log.curve()
    image = read(tmp_path / "learning-curve.png")
    plot = image.shape[1] - pictures.RIGHT
    total, half = (np.argwhere((image[:, : plot + 1] == colour).all(axis=2)) for colour in pictures.COLOURS[:2])
    for drawn in (total, half):
        begin, end = drawn[drawn[:, 1].argmin()], drawn[drawn[:, 1].argmax()]
        assert begin[1] < 90 and end[1] > plot - 20 and end[0] > begin[0] + 100
    assert total[:, 0].min() < half[:, 0].min()  # the larger loss starts higher


def test_example_pictures_are_named_by_their_step(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    with RunLog(tmp_path, ALONE, 0, 10) as log:
        log.picture(7, "crops", image)
    np.testing.assert_array_equal(read(tmp_path / "pictures" / "step-00000007-crops.png"), image)


def test_text_is_readable_and_cut_off_at_the_edge() -> None:
    dots = letters.dots_of("L1")
    assert dots.shape == (letters.HEIGHT, 11)
    assert dots[:7, 0].all() and dots[6, :5].all() and not dots[:6, 1:5].any()  # an L: a bar down, a bar below
    image = pictures.canvas(10, 10)
    pictures.write(image, 6, -3, "LLL")
    assert (image[6:, 3] == pictures.BLACK).all() and (image[:6] == 255).all()


@pytest.mark.parametrize("values", [[1.0, 1.0], [0.0, 0.0], [1e-9, 2e-9], [-5.0, 12345.0], [float("nan"), 3.0]])
def test_a_diagram_takes_any_finite_values(values: list[float]) -> None:
    image = pictures.curves({"loss": list(enumerate(values))}, "step", "loss")
    assert (image == pictures.COLOURS[0]).all(axis=2).sum() > 10


def test_a_picture_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="uint8"):
        pictures.save(tmp_path / "a.png", np.zeros((4, 4, 3), np.float32))
    with pytest.raises(ValueError, match="no point"):
        pictures.curves({"loss": [(1.0, float("inf"))]}, "step", "loss")
