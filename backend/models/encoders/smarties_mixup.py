"""Cross-sensor token mixup of SMARTIES: two images of one place exchange the tokens of random patches (section 5)."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor

RATIO = 0.5  # share of patches that stream 1 takes from the first image (section 5)
SLOTS = 12  # band slots that both images of a pair are brought to (section 5)

Item = TypeVar("Item")


def common_slots(first: int, second: int) -> int:
    """Number of band slots for images of `first` and `second` bands.

    12 as in the release where both divide it, else the smallest number that both divide.
    """
    return SLOTS if SLOTS % first == 0 and SLOTS % second == 0 else math.lcm(first, second)


def repeated(items: list[Item], slots: int) -> list[Item]:
    """The whole list again and again until it has `slots` entries; by section 4 that leaves tokens unchanged.

    Raises:
        ValueError: the list does not divide the slots.
    """
    if slots % len(items):
        raise ValueError(f"{len(items)} bands cannot be repeated to {slots}")
    return items * (slots // len(items))


def draw(batch: int, patches: int, seed: int | None = None, device: torch.device | str = "cpu") -> Tensor:
    """Noise B x L in [0, 1) for `taken_from_first`; with a seed the same on every device."""
    generator = None if seed is None else torch.Generator("cpu").manual_seed(seed)
    return torch.rand(batch, patches, generator=generator, device="cpu").to(device)


def taken_from_first(noise: Tensor, ratio: float = RATIO) -> Tensor:
    """B x L bool: patches that stream 1 takes from the first image, those with the int(L * ratio) lowest numbers."""
    rank = noise.argsort(dim=1, stable=True).argsort(dim=1)
    return rank < int(noise.shape[1] * ratio)


def exchange(first: Tensor, second: Tensor, taken: Tensor, mirror: bool) -> tuple[Tensor, Tensor]:
    """Both streams of B x L x ... tensors: tokens, patches or indices.

    Args:
        first, second: the same of both images.
        taken: B x L, where stream 1 takes `first`.
        mirror: stream 2 takes what stream 1 left, as published; False leaves it `second`, as the released code does.
    """
    where = taken.reshape(*taken.shape, *(1,) * (first.ndim - 2))
    return torch.where(where, first, second), torch.where(where, second, first) if mirror else second
