"""Which reference box learns which target, and which of them take part in a step."""

from __future__ import annotations

import torch
from torch import Tensor

from backend.models.ops.nms import Overlaps

BACKGROUND = -1
IGNORED = -2
TARGETS_AT_ONCE = 64  # bounds memory to references x 64 overlaps


def match(
    references: Tensor, targets: Tensor, overlaps: Overlaps, positive: float, negative: float, rescue: bool = False
) -> Tensor:
    """The target of each reference (Ren et al. 2015, section 3.1.2).

    Args:
        references: N x D boxes.
        targets: M x D boxes, M may be 0.
        overlaps: intersection over union of the kind of box.
        positive: from this overlap on a reference learns the target that it overlaps most.
        negative: below this overlap with all targets a reference is background; between the two it is ignored.
        rescue: whether the references that overlap a target most learn it whatever their overlap, unless it is 0.

    Returns:
        N int64: index of the target, BACKGROUND or IGNORED.
    """
    best = references.new_zeros(len(references))
    index = torch.full((len(references),), BACKGROUND, dtype=torch.int64, device=references.device)
    rescued = index.clone()
    for start in range(0, len(targets), TARGETS_AT_ONCE):
        found = overlaps(references, targets[start : start + TARGETS_AT_ONCE])
        nearest = found.argmax(dim=1)  # of equal overlaps the first
        value = found.gather(1, nearest[:, None])[:, 0]
        better = value > best
        best, index = torch.where(better, value, best), torch.where(better, nearest + start, index)
        if rescue:
            closest = (found == found.amax(dim=0)) & (found > 0)
            first = closest.int().argmax(dim=1) + start
            rescued = torch.where((rescued < 0) & closest.any(dim=1), first, rescued)
    matched = torch.where(best >= positive, index, torch.where(best < negative, BACKGROUND, IGNORED))
    return torch.where(rescued >= 0, rescued, matched)


def sample(
    matched: Tensor, count: int, positive_share: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Chooses at random who takes part: at most `positive_share` of `count` positives, background for the rest.

    Args:
        matched: N, from `match`.
        count: how many are wanted; there may be fewer.
        positive_share: largest share of positives.
        generator: of the random choice, on the CPU; None for torch's own.

    Returns:
        Indexes of positives and of background.
    """
    positives = _choose((matched >= 0).nonzero()[:, 0], int(count * positive_share), generator)
    return positives, _choose((matched == BACKGROUND).nonzero()[:, 0], count - len(positives), generator)


def _choose(indexes: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    if len(indexes) <= count:
        return indexes
    # Drawn on the CPU, so that a seed means the same on every device.
    order = torch.randperm(len(indexes), generator=generator, device="cpu")[:count]
    return indexes[order.to(indexes.device)]
