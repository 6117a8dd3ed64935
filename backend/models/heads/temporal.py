"""Several dates joined by a learned linear layer over time, before a head for one date."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class TemporalJoin(nn.Module):
    """Weighted sum of the dates' maps plus a bias, the same for every channel and position (smarties.md, 8.5).

    Args:
        dates: number of dates; 6 for DynamicEarthNet.
    """

    def __init__(self, dates: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dates))
        self.bias = nn.Parameter(torch.empty(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Starts as the mean over the dates, so that the head behind it meets what the encoder gives for one date."""
        nn.init.constant_(self.weight, 1.0 / len(self.weight))
        nn.init.zeros_(self.bias)

    def forward(self, series: Tensor) -> Tensor:
        """B x dates x C x h x w -> B x C x h x w."""
        if series.shape[1] != len(self.weight):
            raise ValueError(f"the layer over time joins {len(self.weight)} dates, not {series.shape[1]}")
        weight = self.weight.to(series).reshape(1, -1, 1, 1, 1)
        return (series * weight).sum(dim=1) + self.bias.to(series)


class SeriesHead(nn.Module):
    """A head for maps that is given the joined maps of several dates; one layer over time serves all levels.

    Args:
        head: takes maps and a size.
        dates: number of dates.
    """

    def __init__(self, head: nn.Module, dates: int) -> None:
        super().__init__()
        self.join = TemporalJoin(dates)
        self.head = head

    def forward(self, series: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Levels B x dates x C x h x w -> what the head gives for B x C x h x w and `size`."""
        result: Tensor = self.head([self.join(level) for level in series], size)
        return result
