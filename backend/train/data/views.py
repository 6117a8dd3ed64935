"""Batches for SkySense V2: crops of samples, all modalities and dates over the same ground (skysense-v2.md, 10.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor


class Glimpse(NamedTuple):
    """One modality of a view, for the samples that have it.

    Attributes:
        rows: N int64, which samples of the batch these are, rising.
        images: N x T x C x H x W float32, normalised as the encoder takes them.
        days: N x T int64, day of year 1 to 366, 0 where unknown.
        valid: N x T x H x W bool; an entry that is invalid everywhere stands for a date that lacks.
    """

    rows: Tensor
    images: Tensor
    days: Tensor
    valid: Tensor


class View(NamedTuple):
    """One crop of every sample of a batch.

    The crop `boxes` is cut from the sample, mirrored left to right where `flips`, then turned by `turns` quarters
    counter-clockwise; the same for all modalities.

    Attributes:
        boxes: B x 4 float32, left, top, right, bottom as shares of the sample's width and height, y downwards.
        flips: B bool.
        turns: B int64, 0 to 3.
        glimpses: by modality; a modality that no sample of the batch has is not in it.
    """

    boxes: Tensor
    flips: Tensor
    turns: Tensor
    glimpses: Mapping[str, Glimpse]


class ViewBatch(NamedTuple):
    """What one step of pre-training sees.

    Attributes:
        student: global views first (two), then local ones (six).
        teacher: the same crops in the same order, with dates and radiometry drawn independently.
        globals: how many of them are global.
        classes: B x K x G x G bool, map classes over the whole samples; None where no sample has any.
        longitudes_latitudes: B x 2 float32 degrees of the samples' centres, NaN where unknown; for the geo-context.
        keys: the samples.
    """

    student: Sequence[View]
    teacher: Sequence[View]
    globals: int
    classes: Tensor | None
    longitudes_latitudes: Tensor
    keys: Sequence[str]
