"""Crops show the same ground in every modality, and depend on seed, step and key alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backend.protocol.errors import InputError, ParameterError
from backend.train.data.crops import PICTURE, SCALES, CropConfig, normalised, views_of
from backend.train.data.resample import axis_weights, resampled
from backend.train.data.sample import Place, Sample, Series
from backend.train.data.shards import ShardSet, write_shards
from backend.train.data.stream import ShardViews
from backend.train.data.views import ViewBatch
from backend.train.objectives.positions import cell_centres, to_sample
from backend.train.objectives.skysense_v2 import SkySenseConfig, SkySenseObjective
from backend.train.parallel.processes import Processes
from backend.train.trainer import TrainerConfig, train
from tests.backend.models.encoders.skysense import small

CALM = CropConfig(gain=0.0, colour=0.0, blur=0.0)
SMALL = {"hr": 64, "ms": 16, "sar": 16}
FEW = CropConfig(locals=2, global_px=SMALL, local_px={"hr": 32, "ms": 8, "sar": 8}, dates={"hr": 1, "ms": 2, "sar": 1})
DAYS = tuple(f"2019-{month:02d}-10" for month in range(1, 13))


def coordinates(channels: int, size: int) -> np.ndarray:
    """channels x size x size: x, y, then zeros, as shares of the image."""
    grid = cell_centres(size, size).numpy().T.reshape(2, size, size)
    return np.concatenate([grid, np.zeros((channels - 2, size, size))]).astype("float32")


def place(number: int = 0, missing: tuple[str, ...] = (), dates: int = 12) -> Sample:
    """All modalities of a place whose values are its coordinates, in each modality's unit."""
    series = {
        "hr": Series(
            "aerial-rgb", ("red", "green", "blue"), PICTURE * coordinates(3, 256)[None], _whole(1, 256), ("",)
        ),
        "ms": Series(
            "s2", tuple("abcdefghij"), np.stack([coordinates(10, 64)] * dates), _whole(dates, 64), DAYS[:dates]
        ),
        "sar": Series("s1", ("VV", "VH"), np.stack([coordinates(2, 64)] * 3), _whole(3, 64), DAYS[:3]),
    }
    kept = {name: one for name, one in series.items() if name not in missing}
    return Sample(f"place-{number}", Place("EPSG:4326", (4, 50, 6, 52)), kept)


def _whole(dates: int, size: int) -> np.ndarray:
    return np.ones((dates, size, size), bool)


def physical(values: torch.Tensor, name: str) -> torch.Tensor:
    """What `normalised` was given, ... x C x H x W."""
    factor, mean, std = SCALES[name]
    shape = (-1, 1, 1)
    found = (values * torch.tensor(std).reshape(shape) + torch.tensor(mean).reshape(shape)) / factor
    return found / PICTURE if name == "hr" else found


def test_every_modality_of_every_crop_shows_the_ground_that_its_box_says() -> None:
    batch = views_of([place(0), place(1)], CALM, seed=1, step=5)
    assert len(batch.student) == len(batch.teacher) == 8 and batch.globals == 2
    for view in (*batch.student, *batch.teacher):
        for name, glimpse in view.glimpses.items():
            size = glimpse.images.shape[-1]
            ground = to_sample(view, cell_centres(size, size)[None].expand(2, -1, -1))
            found = physical(glimpse.images, name)[:, 0, :2].flatten(2).transpose(1, 2)
            inside = ((ground > 0.02) & (ground < 0.98)).all(dim=2)  # beyond, means are cut by the border
            assert float((found - ground).abs()[inside].max()) < 0.01, name


def test_sizes_shares_and_dates() -> None:
    batch = views_of([place(0), place(1)], CropConfig(), seed=1, step=0)
    for number, view in enumerate(batch.student):
        area = ((view.boxes[:, 2] - view.boxes[:, 0]) * (view.boxes[:, 3] - view.boxes[:, 1])).tolist()
        low, high = (0.32, 1.0) if number < 2 else (0.05, 0.32)
        assert all(low - 1e-5 <= share <= high + 1e-5 for share in area)
        sizes = {name: glimpse.images.shape[1:] for name, glimpse in view.glimpses.items()}
        hr, other = (256, 32) if number < 2 else (96, 12)
        assert sizes == {"hr": (1, 3, hr, hr), "ms": (10, 10, other, other), "sar": (3, 2, other, other)}
        days = view.glimpses["ms"].days
        assert bool((days.diff(dim=1) > 0).all()) and days.min() >= 1
        assert view.glimpses["hr"].days.tolist() == [[0], [0]]


def test_student_and_teacher_see_the_same_ground_by_other_dates_and_light() -> None:
    batch = views_of([place(0)], CropConfig(), seed=1, step=0)
    for mine, theirs in zip(batch.student, batch.teacher, strict=True):
        assert torch.equal(mine.boxes, theirs.boxes) and torch.equal(mine.turns, theirs.turns)
    days = [[view.glimpses["ms"].days.tolist() for view in views] for views in (batch.student, batch.teacher)]
    assert days[0] != days[1]
    assert not torch.equal(batch.student[0].glimpses["hr"].images, batch.teacher[0].glimpses["hr"].images)


def equal(one: ViewBatch, other: ViewBatch, row: int, there: int) -> bool:
    """Whether a row of a batch is a row of another one."""
    return all(
        torch.equal(a.boxes[row], b.boxes[there])
        and all(torch.equal(a.glimpses[n].images[row], b.glimpses[n].images[there]) for n in a.glimpses)
        for a, b in zip((*one.student, *one.teacher), (*other.student, *other.teacher), strict=True)
    )


def test_what_is_drawn_for_a_sample_does_not_depend_on_the_batch() -> None:
    whole = views_of([place(0), place(1)], FEW, seed=1, step=3)
    alone = views_of([place(1)], FEW, seed=1, step=3)
    assert equal(whole, alone, 1, 0)
    assert not equal(whole, views_of([place(1)], FEW, seed=1, step=4), 1, 0)
    assert not equal(whole, views_of([place(1)], FEW, seed=2, step=3), 1, 0)


def test_centres_are_degrees_wherever_a_sample_says_its_place() -> None:
    optical = {"ms": place().series["ms"]}
    places = [
        Place("EPSG:4326", (4, 50, 6, 52)),
        Place("EPSG:32631", (499_000, 0, 501_000, 2_000)),
        Place("", (0, 0, 9, 9)),
    ]
    batch = views_of([Sample(str(n), one, optical) for n, one in enumerate(places)], FEW, seed=1, step=0)
    degrees = batch.longitudes_latitudes
    torch.testing.assert_close(degrees[0], torch.tensor([5.0, 51.0]))
    # The middle of zone 31 is 3 degrees east; a kilometre along it is 1 / 110.62 degrees at the equator.
    torch.testing.assert_close(degrees[1], torch.tensor([3.0, 0.00904]), atol=1e-5, rtol=0)
    assert degrees[2].isnan().all()


def test_lacking_modalities_and_dates() -> None:
    batch = views_of([place(0, ("hr",)), place(1, dates=4), place(2, ("hr", "sar"))], FEW, seed=1, step=0)
    glimpses = batch.student[0].glimpses
    assert {name: glimpse.rows.tolist() for name, glimpse in glimpses.items()} == {
        "hr": [1],
        "ms": [0, 1, 2],
        "sar": [0, 1],
    }
    few = views_of([place(0, dates=12), place(1, dates=1)], FEW, seed=1, step=0).student[0].glimpses["ms"]
    assert few.days[1].tolist()[1] == 0 and not few.valid[1, 1].any() and few.valid[1, 0].all()


def test_invalid_pixels_count_for_nothing() -> None:
    values = np.full((1, 1, 8, 8), 5.0, "float32")
    valid = np.ones((1, 8, 8), bool)
    values[..., :4], valid[..., :4] = 900.0, False
    found = resampled(values, valid, (0.0, 0.0, 1.0, 1.0), 4)
    assert found.valid[0, 0].tolist() == [False, False, True, True]
    np.testing.assert_allclose(found.values[0, 0, :, 2:], 5.0, rtol=1e-6)
    assert (found.values[0, 0, :, :2] == 0).all()


def test_weights_of_an_axis_are_means_that_sum_to_one() -> None:
    weights = axis_weights(12, 0.25, 0.75, 3)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    centres = weights @ (np.arange(12) + 0.5)
    np.testing.assert_allclose(centres, [4, 6, 8], atol=1e-5)
    np.testing.assert_allclose(axis_weights(6, 0, 1, 6), np.eye(6), atol=1e-6)


def test_normalisation_is_that_of_the_packages() -> None:
    reflectance = np.full((1, 10, 1, 1), 0.2)
    assert normalised(reflectance, "ms")[0, 0, 0, 0] == pytest.approx((2000 - 884.29673756) / 1155.15170768)
    assert normalised(np.full((1, 3, 1, 1), 255.0), "hr")[0, 0, 0, 0] == pytest.approx((1 - 0.485) / 0.229)


def test_other_bands_than_the_encoders_are_refused() -> None:
    sample = place(0)
    wrong = Series("s2", ("a",), np.zeros((1, 1, 8, 8), "float32"), _whole(1, 8), ("",))
    with pytest.raises(InputError, match="1 bands of ms"):
        views_of([Sample("x", sample.place, {"ms": wrong})], FEW, seed=1, step=0)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    folder = tmp_path_factory.mktemp("shards")
    write_shards((place(number, ("hr",) if number % 2 else ()) for number in range(6)), folder, per_shard=4)
    return ShardSet(folder)


def test_two_halves_of_a_batch_are_the_batch(shards: ShardSet) -> None:
    source = ShardViews(shards, 4, FEW)
    whole, halves = source.batch(2, 0, 1), [source.batch(2, part, 2) for part in (0, 1)]
    assert [*halves[0].keys, *halves[1].keys] == list(whole.keys)
    with pytest.raises(ParameterError, match="fewer than"):
        ShardViews(shards, 7)


def test_a_miniature_learns_from_shards(shards: ShardSet, tmp_path: Path) -> None:
    """From tar files through crops, objective and trainer to a log that says what was seen."""
    config: dict[str, Any] = {"depths": (1, 1, 1, 1), "experts": 2, "expert_blocks": 1, "fusion_layers": 1}
    numbers = SkySenseConfig(outputs=16, hidden=16, queries=2, query_heads=2)
    objective = SkySenseObjective(small(**config), numbers).train()
    alone = Processes(0, 1, torch.device("cpu"))
    report = train(
        objective,
        ShardViews(shards, 2, FEW),
        TrainerConfig(steps=2, log_every=1, device="cpu"),
        tmp_path / "run",
        alone,
    )
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert report["skipped"] == 0 and [line["step"] for line in lines] == [1, 2]
    assert all(np.isfinite(line["loss"]) and line["counts"]["several_modalities"] == 2 for line in lines)
