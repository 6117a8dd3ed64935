"""Small batches of crops."""

from __future__ import annotations

import torch

from backend.train.data.views import Glimpse, View, ViewBatch

CHANNELS = {"hr": 3, "ms": 10, "sar": 2}
SIZES = {"hr": (128, 64), "ms": (16, 8), "sar": (16, 8)}  # of a global and of a local crop
DATES = {"hr": 1, "ms": 2, "sar": 2}


def glimpse(name: str, rows: list[int], local: bool, seed: int) -> Glimpse:
    """Noise, one date of the last sample without data where there are several."""
    generator = torch.Generator().manual_seed(seed)
    size, dates = SIZES[name][local], DATES[name]
    images = torch.randn(len(rows), dates, CHANNELS[name], size, size, generator=generator)
    valid = torch.ones(len(rows), dates, size, size, dtype=torch.bool)
    days = torch.tensor([[100 + 50 * date for date in range(dates)]] * len(rows))
    if dates > 1:
        valid[-1, -1], days[-1, -1] = False, 0
    return Glimpse(torch.tensor(rows), images, days, valid)


def view(number: int, count: int, modalities: dict[str, list[int]], locals_from: int = 2, seed: int = 0) -> View:
    generator = torch.Generator().manual_seed(1000 * seed + number)
    local = number >= locals_from
    side = 0.4 if local else 0.8
    corner = torch.rand(count, 2, generator=generator) * (1 - side)
    boxes = torch.cat([corner, corner + side], dim=1)
    glimpses = {n: glimpse(n, rows, local, 100 * seed + number) for n, rows in modalities.items()}
    return View(
        boxes, torch.rand(count, generator=generator) < 0.5, torch.randint(4, (count,), generator=generator), glimpses
    )


def batch(
    count: int = 2, modalities: dict[str, list[int]] | None = None, locals_: int = 2, classes: int = 0, seed: int = 0
) -> ViewBatch:
    """Two global crops and some local ones; student and teacher see the same crops with other radiometry."""
    kinds = modalities or {name: list(range(count)) for name in CHANNELS}
    student = [view(n, count, kinds, seed=seed) for n in range(2 + locals_)]
    other = [view(n, count, kinds, seed=seed + 50) for n in range(2 + locals_)]
    teacher = [seen._replace(glimpses=o.glimpses) for seen, o in zip(student, other, strict=True)]
    generator = torch.Generator().manual_seed(seed)
    known = torch.rand(count, classes, 16, 16, generator=generator) < 0.3 if classes else None
    places = torch.tensor([[5.0, 50.0]] * count)
    return ViewBatch(student, teacher, 2, known, places, [f"place {n}" for n in range(count)])
