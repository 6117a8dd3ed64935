"""One small case per registered head: arguments and inputs, with maps of odd sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from backend.models.heads import build

SIZE = (37, 29)
STRIDES = [(10, 8), (5, 4), (3, 2), (2, 1)]  # rows and columns; not one a half of the one before
EQUAL = [(7, 5)] * 4
WIDTHS = (4, 6, 8, 10)
CLASSES = 3


@dataclass(frozen=True)
class Case:
    """A head and what it takes.

    Attributes:
        name: in the registry.
        arguments: of the head.
        shapes: of one date's inputs without the batch.
        dates: 2 where `forward` takes two dates.
        size: of the wanted map; None for heads that are not given one.
    """

    name: str
    arguments: dict[str, Any]
    shapes: list[tuple[int, ...]]
    dates: int = 1
    size: tuple[int, int] | None = SIZE
    outputs: list[tuple[int, ...]] = field(default_factory=lambda: [(CLASSES, *SIZE)])

    def head(self, device: str = "cpu", seed: int = 0) -> nn.Module:
        return build(self.name, device, seed, **self.arguments)

    def inputs(self, batch: int = 2, seed: int = 1) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return [torch.randn(batch, *shape, generator=generator) for _ in range(self.dates) for shape in self.shapes]

    def run(self, head: nn.Module, inputs: list[Tensor]) -> tuple[Tensor, ...]:
        result = Flat(head, self)(*inputs)
        return result if isinstance(result, tuple) else (result,)


class Flat(nn.Module):
    """A head that takes its maps as separate arguments, as a graph does."""

    def __init__(self, head: nn.Module, case: Case) -> None:
        super().__init__()
        self.head, self.case = head, case

    def forward(self, *inputs: Tensor) -> Any:
        if self.case.size is None:
            return self.head(*inputs)
        count = len(self.case.shapes)
        dates = [inputs[first : first + count] for first in range(0, len(inputs), count)]
        result = self.head(*dates, self.case.size)
        return tuple(result) if isinstance(result, tuple) else result


def _shapes(widths: tuple[int, ...], sizes: list[tuple[int, int]]) -> list[tuple[int, ...]]:
    return [(width, *size) for width, size in zip(widths, sizes, strict=True)]


PYRAMID = _shapes(WIDTHS, STRIDES)
PLAIN = _shapes((6,) * 4, EQUAL)
COMMON = {"channels": WIDTHS, "classes": CLASSES}
SMALL = {**COMMON, "width": 8}
FEATURE = {"channels": 12, "classes": CLASSES}

CASES = [
    Case("upernet", SMALL, PYRAMID),
    Case("upernet", {**SMALL, "pools": (1, 2, 4)}, _shapes(WIDTHS, EQUAL)),
    Case("upernet-auxiliary", SMALL, PYRAMID),
    Case("upernet-fused", {**SMALL, "channels": (*WIDTHS, 12)}, [*PYRAMID, (12, 4, 3)]),
    Case("upernet-pyramid", {**SMALL, "channels": (6,) * 4}, PLAIN),
    Case("fcn", SMALL, PYRAMID),
    Case("linear-map", COMMON, PYRAMID),
    Case("upernet-series", {**SMALL, "channels": (6,) * 4, "dates": 3}, [(3, *shape) for shape in PLAIN]),
    Case("bit", {**COMMON, "width": 16, "decoder_layers": 1}, PYRAMID, 2),
    Case("bit", {**COMMON, "width": 16, "decoder_layers": 1, "ordered": True}, PYRAMID, 2),
    Case("upernet-difference", SMALL, PYRAMID, 2),
    Case("upernet-semantic-change", SMALL, PYRAMID, 2, outputs=[(CLASSES, *SIZE), (CLASSES, *SIZE), SIZE]),
    Case("scene-classifier", FEATURE, [(12,)], size=None, outputs=[(CLASSES,)]),
    Case("scene-classifier", FEATURE, [(12, 7, 5)], size=None, outputs=[(CLASSES,)]),
    *(
        Case(name, {**FEATURE, **more}, [(12, *map_size)], size=None, outputs=[(CLASSES, *map_size)])
        for name, more in (("linear-probe", {}), ("prototypes", {}), ("nearest-neighbours", {"samples": 30}))
        for map_size in ((), (7, 5))
    ),
]
IDS = [f"{number}-{case.name}" for number, case in enumerate(CASES)]
