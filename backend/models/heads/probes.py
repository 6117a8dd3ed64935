"""Probes: what frozen features say by themselves, of scenes (B x C) or of every pixel (B x C x h x w).

The linear probe is trained; prototypes and nearest neighbours only look at labelled features and so learn at once.
Cosines, and all that is computed from them, are float32 whatever the autocast.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

# Of the linear probe (smarties.md, 8.2).
PROBE_STD = 0.01
PROBE_EPS = 1e-6
# Of the votes exp(similarity / temperature), and how many samples vote (smarties.md, 8.1).
TEMPERATURE = 0.07
NEIGHBOURS = 20
# Numbers held at once while pixels are scored in parts: 64 MiB in float32.
CHUNK = 1 << 24


class LinearProbe(nn.Sequential):
    """Batch norm without learned scale and offset, then a linear layer (smarties.md, 8.2).

    The layers are called "0" and "1", so that as `head` of a model the tensors have the published names head.0.* and
    head.1.* (smarties.md, 10.2). In evaluation the running statistics are used.

    Args:
        channels: numbers per feature.
        classes: number of classes.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(nn.BatchNorm1d(channels, eps=PROBE_EPS, affine=False), nn.Linear(channels, classes))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Truncated normal, std 0.01; bias 0."""
        nn.init.trunc_normal_(self[1].weight, std=PROBE_STD)  # type: ignore[arg-type]
        nn.init.zeros_(self[1].bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """B x C or B x C x h x w -> logits B x classes or B x classes x h x w, float32."""
        # In training the batch norm has to see all rows at once.
        part = None if self.training else max(1, CHUNK // features.shape[1])
        return by_row(lambda rows: self[1](self[0](rows)).float(), features, part)


class PrototypeProbe(nn.Module):
    """Cosine to the mean of each class's unit features, over a temperature; learned from labelled features at once.

    A class of which no sample was seen scores as if it were opposite to every feature.

    Args:
        channels: numbers per feature.
        classes: number of classes.
        temperature: cosines are divided by it, so that the softmax of the logits says something.
    """

    prototypes: Tensor
    counts: Tensor

    def __init__(self, channels: int, classes: int, temperature: float = TEMPERATURE) -> None:
        super().__init__()
        self.temperature = temperature
        self.register_buffer("prototypes", torch.empty(classes, channels))
        self.register_buffer("counts", torch.empty(classes))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """No class seen yet."""
        nn.init.zeros_(self.prototypes)
        nn.init.zeros_(self.counts)

    @torch.no_grad()
    def learn(self, features: Tensor, labels: Tensor) -> None:
        """Replaces the prototypes.

        Args:
            features: N x C.
            labels: N, int64; samples whose label is no class (below 0, or such as 255) are left out.

        Raises:
            ValueError: no sample has a class.
        """
        features, labels = _labelled(features, labels, len(self.counts))
        units = functional.normalize(features.to(self.prototypes), dim=1)
        labels = labels.to(units.device)
        sums = torch.zeros_like(self.prototypes).index_add_(0, labels, units)
        self.counts.copy_(torch.bincount(labels, minlength=len(self.counts)))
        self.prototypes.copy_(sums / self.counts.clamp(min=1)[:, None])

    def forward(self, features: Tensor) -> Tensor:
        """B x C or B x C x h x w -> logits B x classes or B x classes x h x w, float32: cosine / temperature."""
        return by_row(self._score, features, max(1, CHUNK // features.shape[1]))

    def _score(self, rows: Tensor) -> Tensor:
        cosines = _cosines(rows, functional.normalize(self.prototypes, dim=1))
        return torch.where(self.counts > 0, cosines, -1.0) / self.temperature


class NearestNeighbours(nn.Module):
    """Votes of the most similar labelled features, weighted with exp(cosine / 0.07) (smarties.md, 8.1).

    Args:
        channels: numbers per feature.
        classes: number of classes.
        samples: number of labelled features; what a file holds when weights are to be loaded. `learn` sets it.
        neighbours: how many vote; all samples where there are fewer.
        temperature: of the weights.
    """

    samples: Tensor
    labels: Tensor

    def __init__(
        self,
        channels: int,
        classes: int,
        samples: int = 1,
        neighbours: int = NEIGHBOURS,
        temperature: float = TEMPERATURE,
    ) -> None:
        super().__init__()
        if samples < 1 or neighbours < 1:
            raise ValueError("at least one sample and one neighbour are needed")
        self.classes, self.neighbours, self.temperature = classes, neighbours, temperature
        self.register_buffer("samples", torch.empty(samples, channels))
        self.register_buffer("labels", torch.empty(samples, dtype=torch.int64))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Samples without direction, all of class 0, until some are learned."""
        nn.init.zeros_(self.samples)
        self.labels.zero_()

    @torch.no_grad()
    def learn(self, features: Tensor, labels: Tensor) -> None:
        """Replaces the samples by unit features; arguments and errors as in `PrototypeProbe.learn`."""
        features, labels = _labelled(features, labels, self.classes)
        self.samples = functional.normalize(features.to(self.samples), dim=1)
        self.labels = labels.to(self.labels)

    def forward(self, features: Tensor) -> Tensor:
        """B x C or B x C x h x w -> share of the votes, B x classes or B x classes x h x w, float32, summing to 1."""
        return by_row(self._vote, features, max(1, CHUNK // max(features.shape[1], len(self.samples))))

    def _vote(self, rows: Tensor) -> Tensor:
        nearest = _cosines(rows, self.samples).topk(min(self.neighbours, len(self.samples)), dim=1)
        # The softmax is exp(cosine / temperature) over the sum of these: the shares of the votes.
        weights = (nearest.values / self.temperature).softmax(dim=1)
        voted = weights.new_zeros(rows.shape[0], self.classes)
        return voted.scatter_add(1, self.labels[nearest.indices], weights)


def by_row(score: Callable[[Tensor], Tensor], features: Tensor, part: int | None = None) -> Tensor:
    """Applies a function of rows to features of scenes or of every pixel.

    Args:
        score: N x C -> N x K, each row by itself.
        features: B x C or B x C x h x w.
        part: rows handed over at once; None, and always in an exported graph, for all.

    Returns:
        B x K or B x K x h x w.
    """
    rows = features if features.ndim == 2 else features.movedim(1, -1).flatten(0, 2)
    if part is None or torch.compiler.is_compiling() or len(rows) <= part:
        scores = score(rows)
    else:
        scores = torch.cat([score(some) for some in rows.split(part)])
    if features.ndim == 2:
        return scores
    return scores.unflatten(0, (-1, *features.shape[2:])).movedim(-1, 1)


def _cosines(rows: Tensor, units: Tensor) -> Tensor:
    with torch.autocast(rows.device.type, enabled=False):
        return functional.normalize(rows.float(), dim=1) @ units.float().T


def _labelled(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    known = (labels >= 0) & (labels < classes)
    if not bool(known.any()):
        raise ValueError("no sample has a class")
    return features[known.to(features.device)], labels[known]
