"""Contrast between the modalities of one place: symmetric InfoNCE (skysense-v2.md, 10.3; van den Oord et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.models.layers.precision import full_precision

WIDTH, TEMPERATURE = 256, 0.07


class ModalityAlignment(nn.Module):
    """Image features of two modalities of the same place are to be more alike than those of other places.

    Args:
        channels: numbers per image feature.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Linear(channels, WIDTH)

    def forward(self, features: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
        """Mean over the pairs of modalities with two places in common at least; 0 where there is none.

        Args:
            features: by modality the samples' numbers, N int64, and their image features, N x channels.
        """
        losses = []
        for (rows, first), (others, second) in combinations(features.values(), 2):
            both = rows[torch.isin(rows, others)]
            if len(both) > 1:
                losses.append(self._pair(first[torch.isin(rows, both)], second[torch.isin(others, both)]))
        return torch.stack(losses).mean() if losses else self.project.weight.new_zeros(())

    def _pair(self, first: Tensor, second: Tensor) -> Tensor:
        with full_precision(first.device):
            one, other = (functional.normalize(self.project(part.float()), dim=1) for part in (first, second))
            logits = one @ other.T / TEMPERATURE
        places = torch.arange(len(logits), device=logits.device)
        return (functional.cross_entropy(logits, places) + functional.cross_entropy(logits.T, places)) / 2
