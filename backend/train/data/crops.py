"""Crops of samples for SkySense V2: the same ground in all modalities and dates (skysense-v2.md, 10.1).

What is drawn depends on the seed, the step and the sample's key alone. Student and teacher see the same crops with
dates and radiometry drawn independently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import torch
from rasterio.warp import transform
from torch import Tensor

from backend.geo.grid import WGS84, parse_crs
from backend.protocol.errors import InputError
from backend.runtime.packing import skysense_v2
from backend.train.data.resample import Box, Part, resampled, turned
from backend.train.data.sample import Sample, Series
from backend.train.data.source import random_of
from backend.train.data.views import Glimpse, View, ViewBatch

PICTURE = 255.0  # of 8-bit pictures
# Factor, mean and standard deviation by modality (skysense-v2.md, 1).
SCALES: dict[str, tuple[float, Sequence[float], Sequence[float]]] = {
    "hr": (1 / PICTURE, skysense_v2.PICTURE_MEAN, skysense_v2.PICTURE_STD),
    "ms": (skysense_v2.DIGITAL_NUMBERS, skysense_v2.DIGITAL_MEAN, skysense_v2.DIGITAL_STD),
    "sar": (1.0, skysense_v2.DECIBEL_MEAN, skysense_v2.DECIBEL_STD),
}
BANDS = {"hr": 3, "ms": len(skysense_v2.REFLECTANCE_BANDS), "sar": 2}


@dataclass(frozen=True)
class CropConfig:
    """Numbers, sizes and disturbances of crops.

    Attributes:
        globals, locals: how many of each.
        global_share, local_share: smallest and largest part of the sample's area.
        global_px, local_px: pixels per side, by modality.
        dates: most dates of a modality.
        gain: half width of the factor of every band of multispectral and radar images.
        colour: half width of the factors of brightness, contrast and saturation of pictures.
        blur: share of pictures that are blurred.
    """

    globals: int = 2
    locals: int = 6
    global_share: tuple[float, float] = (0.32, 1.0)
    local_share: tuple[float, float] = (0.05, 0.32)
    global_px: Mapping[str, int] = field(default_factory=lambda: {"hr": 256, "ms": 32, "sar": 32})
    local_px: Mapping[str, int] = field(default_factory=lambda: {"hr": 96, "ms": 12, "sar": 12})
    dates: Mapping[str, int] = field(default_factory=lambda: {"hr": 1, "ms": 10, "sar": 5})
    gain: float = 0.1
    colour: float = 0.2
    blur: float = 0.5


def views_of(samples: Sequence[Sample], config: CropConfig, seed: int, step: int) -> ViewBatch:
    """The crops of a batch.

    Raises:
        InputError: a sample has other bands than the encoder takes.
    """
    for sample in samples:
        _check(sample)
    student: list[View] = []
    teacher: list[View] = []
    for number in range(config.globals + config.locals):
        places = [_place(sample, config, seed, step, number) for sample in samples]
        for role, views in (("student", student), ("teacher", teacher)):
            views.append(_view(samples, places, config, number, (seed, step, role)))
    centres = torch.tensor([_centre(sample) for sample in samples], dtype=torch.float32)
    return ViewBatch(student, teacher, config.globals, _classes(samples), centres, [sample.key for sample in samples])


def _check(sample: Sample) -> None:
    for name, series in sample.series.items():
        if series.pixels.shape[1] != BANDS.get(name, -1):
            raise InputError(
                f'the sample "{sample.key}" has {series.pixels.shape[1]} bands of {name}',
                f"SkySense V2 takes {', '.join(f'{count} of {kind}' for kind, count in BANDS.items())}",
            )


def _place(sample: Sample, config: CropConfig, seed: int, step: int, number: int) -> tuple[Box, bool, int]:
    """Box, mirror and turns of one crop."""
    generator = random_of(seed, step, "crop", sample.key, number)
    low, high = config.global_share if number < config.globals else config.local_share
    side = float(np.sqrt(generator.uniform(low, high)))
    left, top = generator.uniform(0, 1 - side, 2)
    return (
        (float(left), float(top), float(left) + side, float(top) + side),
        bool(generator.integers(2)),
        int(generator.integers(4)),
    )


def _view(
    samples: Sequence[Sample],
    places: Sequence[tuple[Box, bool, int]],
    config: CropConfig,
    number: int,
    drawn: tuple[object, ...],
) -> View:
    sizes = config.global_px if number < config.globals else config.local_px
    glimpses = {}
    for name in BANDS:
        rows = [row for row, sample in enumerate(samples) if name in sample.series]
        if rows:
            cut = [
                _cut(samples[row], name, places[row], sizes[name], config, (*drawn, number, samples[row].key))
                for row in rows
            ]
            glimpses[name] = _stacked(rows, cut)
    boxes, flips, turns = zip(*places, strict=True)
    return View(torch.tensor(boxes), torch.tensor(flips), torch.tensor(turns), glimpses)


def _cut(
    sample: Sample, name: str, place: tuple[Box, bool, int], size: int, config: CropConfig, drawn: tuple[object, ...]
) -> tuple[Part, list[int]]:
    """One modality of one crop, normalised, and the days of its dates."""
    series = sample.series[name]
    generator = random_of(*drawn, name)
    dates = np.sort(generator.permutation(len(series.pixels))[: config.dates[name]])
    box, flip, turns = place
    part = turned(resampled(series.pixels[dates], series.valid[dates], box, size), flip, turns)
    values = _disturbed(part.values, name, config, generator)
    normal = normalised(values, name) * part.valid[:, None]
    return Part(normal.astype(np.float32), part.valid), [_day(series, number) for number in dates]


def _disturbed(values: np.ndarray, name: str, config: CropConfig, generator: np.random.Generator) -> np.ndarray:
    """Radiometry of T x C x H x W changed a little."""
    if name != "hr":
        factors = generator.uniform(1 - config.gain, 1 + config.gain, (1, values.shape[1], 1, 1))
        return np.asarray(values * factors.astype(np.float32))
    bright, contrast, colour = generator.uniform(1 - config.colour, 1 + config.colour, 3).astype(np.float32)
    values = values * bright
    mean = values.mean(axis=(1, 2, 3), keepdims=True)
    values = mean + (values - mean) * contrast
    grey = values.mean(axis=1, keepdims=True)
    values = np.clip(grey + (values - grey) * colour, 0, PICTURE)
    return _blurred(values, generator.uniform(0.1, 2.0)) if generator.random() < config.blur else values


def _blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian of `sigma` pixels along both axes, mirrored at the borders."""
    reach = max(1, round(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    for axis in (-2, -1):
        padding = [(0, 0)] * values.ndim
        padding[axis] = (reach, reach)
        wide = np.pad(values, padding, mode="symmetric")
        length = values.shape[axis]
        values = sum(weight * wide.take(range(n, n + length), axis=axis) for n, weight in enumerate(kernel))
    return values


def normalised(values: np.ndarray, name: str) -> np.ndarray:
    """T x C x H x W in physical units -> what the encoder takes (skysense-v2.md, 1)."""
    factor, mean, std = SCALES[name]
    middle, spread = (np.reshape(np.asarray(numbers, np.float32), (1, -1, 1, 1)) for numbers in (mean, std))
    return np.asarray((values * factor - middle) / spread)


def _stacked(rows: list[int], cut: list[tuple[Part, list[int]]]) -> Glimpse:
    """One tensor of samples with different numbers of dates; what lacks is invalid."""
    dates = max(len(days) for _, days in cut)

    def filled(values: np.ndarray) -> np.ndarray:
        return np.pad(values, [(0, dates - len(values))] + [(0, 0)] * (values.ndim - 1))

    return Glimpse(
        torch.tensor(rows),
        torch.from_numpy(np.stack([filled(part.values) for part, _ in cut])),
        torch.tensor([days + [0] * (dates - len(days)) for _, days in cut]),
        torch.from_numpy(np.stack([filled(part.valid) for part, _ in cut])),
    )


def _day(series: Series, number: int) -> int:
    """Day of the year; 0 where the date is not known."""
    text = series.days[number]
    return date.fromisoformat(text[:10]).timetuple().tm_yday if text else 0


def _classes(samples: Sequence[Sample]) -> Tensor | None:
    """B x K x G x G; a sample without map classes has none anywhere."""
    known = [sample.classes for sample in samples if sample.classes is not None]
    if not known:
        return None
    nothing = np.zeros_like(known[0])
    return torch.from_numpy(np.stack([nothing if s.classes is None else s.classes for s in samples]))


def _centre(sample: Sample) -> tuple[float, float]:
    """Longitude and latitude; NaN where the sample has no place on Earth."""
    left, bottom, right, top = sample.place.bounds
    if not sample.place.crs:
        return (float("nan"), float("nan"))
    (longitude,), (latitude,) = transform(
        parse_crs(sample.place.crs), WGS84, [(left + right) / 2], [(bottom + top) / 2]
    )
    return (longitude, latitude)
