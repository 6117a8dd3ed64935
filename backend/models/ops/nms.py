"""Greedy non-maximum suppression in plain torch, for any kind of box that has an overlap.

Horizontal boxes go through torchvision's operator where it is at hand, with the same result.

Deterministic: boxes come by falling score, equal scores by index. A box falls when its overlap with a kept box is
above the threshold; an overlap that equals the threshold is allowed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from backend.models.ops.accelerated import operators
from backend.models.ops.boxes import overlaps as horizontal

Overlaps = Callable[[Tensor, Tensor], Tensor]  # N x D and M x D -> N x M intersection over union

BLOCK = 256  # boxes that are settled among each other at a time: bounds memory to BLOCK x N overlaps


def suppress(boxes: Tensor, scores: Tensor, threshold: float, overlaps: Overlaps, limit: int | None = None) -> Tensor:
    """The boxes to keep.

    Args:
        boxes: N x D, any kind that `overlaps` takes.
        scores: N.
        threshold: largest overlap of two kept boxes.
        overlaps: such as `backend.models.ops.boxes.overlaps`.
        limit: keep at most that many, those with the highest scores.

    Returns:
        Indexes into `boxes` by falling score.
    """
    order = scores.argsort(descending=True, stable=True)
    fast = operators() if overlaps is horizontal else None
    if fast is not None:
        # Ranks in place of scores: equal scores keep their order.
        ranks = torch.arange(len(order), 0, -1, dtype=torch.float32, device=boxes.device)
        return torch.as_tensor(order[fast.nms(boxes[order].float(), ranks, threshold)][:limit])
    return _suppress(boxes, order, threshold, overlaps, limit)


def _suppress(boxes: Tensor, order: Tensor, threshold: float, overlaps: Overlaps, limit: int | None) -> Tensor:
    remaining = order
    kept = [remaining[:0]]
    count = 0
    while len(remaining) and (limit is None or count < limit):
        block, rest = remaining[:BLOCK], remaining[BLOCK:]
        block = block[_independent(overlaps(boxes[block], boxes[block]) > threshold)]
        kept.append(block)
        count += len(block)
        remaining = rest[~(overlaps(boxes[block], boxes[rest]) > threshold).any(dim=0)]
    return torch.cat(kept)[:limit]


def suppress_by_group(
    boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float, overlaps: Overlaps, limit: int | None = None
) -> Tensor:
    """As `suppress`, but a box falls only to boxes of its own group, such as its class or pyramid level.

    Args:
        boxes: N x D.
        scores: N.
        groups: N integers.
        threshold, overlaps: as in `suppress`.
        limit: keep at most that many over all groups.
    """
    kept = [groups.new_empty(0, dtype=torch.int64)]
    for group in groups.unique():
        members = (groups == group).nonzero()[:, 0]
        kept.append(members[suppress(boxes[members], scores[members], threshold, overlaps, limit)])
    indexes = torch.cat(kept).sort().values  # by index first, so that the stable sort leaves ties in that order
    return indexes[scores[indexes].argsort(descending=True, stable=True)][:limit]


def _independent(conflicts: Tensor) -> Tensor:
    """Which of n ranked boxes survive, given their n x n conflicts: a box falls to any survivor before it.

    The definition holds for exactly one assignment. Repeating it from any start settles at least one more box per
    round; a few rounds are enough, since chains in which each box saves the next but one are short.
    """
    above = conflicts.triu(1)
    alive = torch.ones(len(conflicts), dtype=torch.bool, device=conflicts.device)
    while True:
        settled = ~(above & alive[:, None]).any(dim=0)
        if torch.equal(settled, alive):
            return alive
        alive = settled
