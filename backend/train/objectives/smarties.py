"""SMARTIES' pre-training: pairs of sensors exchange tokens, three quarters are hidden, their bands are reconstructed.

Sections refer to smarties.md. The arithmetic is the network's own (`SmartiesPretraining`); this objective draws what is
mixed and hidden, for each sample by itself, so that it depends neither on the batch nor on the number of processes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from backend.models.encoders.smarties_pretraining import SmartiesPretraining
from backend.train.data.source import random_of
from backend.train.objectives.objective import Losses, Objective, Progress


class Pairs(NamedTuple):
    """Images of the same places by two sensors.

    Attributes:
        first, second: B x C x H x W float32, normalised; the channels may differ.
        ranges: spectral range keys of both, in channel order.
        keys: of the samples.
    """

    first: Tensor
    second: Tensor
    ranges: tuple[tuple[str, ...], tuple[str, ...]]
    keys: tuple[str, ...]


class PairBatch(NamedTuple):
    """A batch: pairs of one kind of sensors after the other, for images of one kind go through together."""

    kinds: tuple[Pairs, ...]


class SmartiesObjective(Objective):
    """Spectrum-aware masked reconstruction (sections 5 to 7).

    Args:
        network: encoder and decoder.
        mirror: the published exchange of tokens; False as in the released code (section 5).
        mixup: False leaves the tokens of both sensors unmixed (the ablation of section 12).
        normalise: targets are normalised within each token (section 7).
        seed: of what is drawn.
    """

    def __init__(
        self,
        network: SmartiesPretraining,
        mirror: bool = True,
        mixup: bool = True,
        normalise: bool = True,
        seed: int = 42,
    ) -> None:
        super().__init__()
        self.network = network
        self.mirror, self.mixup, self.normalise, self.seed = mirror, mixup, normalise, seed

    def forward(self, batch: PairBatch, progress: Progress) -> Losses:
        """The mean over all pairs of the mean of both streams' losses."""
        count = sum(len(pairs.keys) for pairs in batch.kinds)
        total = torch.zeros((), device=self.network.cls_token.device)
        parts = {"first": torch.zeros_like(total), "second": torch.zeros_like(total)}
        for pairs in batch.kinds:
            noise = self._noise(pairs, progress)
            images = (pairs.first, pairs.second)
            found = self.network(images, pairs.ranges, *noise, self.mirror, self.normalise, self.mixup)
            share = len(pairs.keys) / count
            total = total + share * found.loss
            for name, loss in zip(parts, found.losses, strict=True):
                parts[name] = parts[name] + share * loss.detach()
        seen = {f"pairs of {len(p.ranges[0])} and {len(p.ranges[1])} bands": len(p.keys) for p in batch.kinds}
        return Losses(total, parts, {"samples": count, **seen})

    def _noise(self, pairs: Pairs, progress: Progress) -> tuple[Tensor, Tensor]:
        """B x L in [0, 1) for the exchange and for the masking, drawn in this order (section 6.1)."""
        length = self.network.grid**2
        drawn = [random_of(self.seed, "noise", progress.step, key).random((2, length)) for key in pairs.keys]
        noise = torch.from_numpy(np.stack(drawn)).float().to(pairs.first.device)
        return noise[:, 0], noise[:, 1]

    def exported(self) -> nn.Module:
        """Encoder and decoder; the encoder's part is what a package takes."""
        return self.network

    def blocks(self) -> Iterable[nn.Module]:
        """The transformer blocks of encoder and decoder."""
        return [*self.network.blocks, *self.network.decoder_blocks]
