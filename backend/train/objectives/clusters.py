"""Groups of positions that look alike: Sinkhorn-Knopp against centres drawn by k-means++ (skysense-v2.md, 10.3)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from backend.models.encoders.prototypes import balanced

CLUSTERS = 8


def drawn_centres(vectors: Tensor, count: int, generator: np.random.Generator) -> Tensor:
    """Centres by k-means++ (Arthur and Vassilvitskii 2007): each next one far from those that are there.

    Args:
        vectors: N x d, N at least `count`.
        count: how many.
        generator: of the draws.

    Returns:
        count x d, rows of `vectors`.
    """
    chosen = [int(generator.integers(len(vectors)))]
    distance = (vectors - vectors[chosen[0]]).square().sum(dim=1)
    for _ in range(count - 1):
        weights = distance.double().cumsum(dim=0).cpu().numpy()
        place = int(np.searchsorted(weights, generator.random() * weights[-1], side="right"))
        chosen.append(min(place, len(vectors) - 1))
        distance = torch.minimum(distance, (vectors - vectors[chosen[-1]]).square().sum(dim=1))
    return vectors[chosen]


@torch.no_grad()
def assigned(vectors: Tensor, generator: np.random.Generator, count: int = CLUSTERS) -> Tensor:
    """How much each vector belongs to each cluster: N x d -> N x count, rows of sum 1, columns balanced."""
    unit = functional.normalize(vectors.float(), dim=1)
    centres = drawn_centres(unit, count, generator)
    return balanced(unit @ centres.T)


def pooled(vectors: Tensor, shares: Tensor) -> Tensor:
    """Means of N x d by N x K shares: K x d."""
    weights = (shares / shares.sum(dim=0).clamp(min=1e-12)).to(vectors.dtype)
    return weights.T @ vectors
