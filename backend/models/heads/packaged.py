"""Heads as networks that a model package runs; see `backend.models.registry`.

The tensors of a packaged head are called `head.*`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from backend.models import heads
from backend.models.heads.detection import Detections

MOMENTS = ("before", "after")
MOST_DETECTIONS = 100  # of one image (skysense-v2.md, 11.3)
ABSENT_SCORE = -1.0


class PackagedHead(nn.Module):
    """A head for maps, change or scenes on named features; of change, `before_F` of all features, then `after_F`.

    Args:
        head: a name of `heads.names()`, of the kind maps, change or scene, or "linear-probe".
        features: names of the features that it takes, fine to coarse; of heads that give no map joined along their
            channels (feature concatenation, smarties.md, 8.4).
        size: pixels per side of the map that it gives; 0 for heads that give none.
        **arguments: of the head.
    """

    def __init__(self, head: str, features: Sequence[str], size: int = 0, **arguments: Any) -> None:
        super().__init__()
        if head not in (*heads.names("maps"), *heads.names("change"), *heads.names("scene"), "linear-probe"):
            raise ValueError(f"the head {head!r} cannot be packaged")
        self.change, self.size = head in heads.names("change"), size
        self.input_names = (
            tuple(f"{moment}_{name}" for moment in MOMENTS for name in features) if self.change else tuple(features)
        )
        self.output_names = ("before", "after", "changed") if head == "upernet-semantic-change" else ("scores",)
        if bool(size) == (head in ("scene-classifier", "linear-probe")):
            raise ValueError("heads that give maps have a size, and no others")
        self.head = heads.build(head, device="meta", **arguments)

    def forward(self, *features: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits B x classes (x size x size), float32; of semantic change both dates' and where these differ."""
        size = (self.size, self.size)
        if self.change:
            half = len(features) // 2
            found = self.head(features[:half], features[half:], size)
            return found if isinstance(found, Tensor) else (found.before, found.after, found.changed[:, None].float())
        result: Tensor = self.head(list(features), size) if self.size else self.head(torch.cat(features, dim=1))
        return result


class PackagedDetector(nn.Module):
    """A detector on four maps: one tensor of detections per image, padded with the score -1.

    Args:
        head: "faster-rcnn" or "oriented-rcnn".
        features: names of the four maps, fine to coarse.
        size: pixels per side of the image.
        **arguments: of the detector.
    """

    output_names = ("detections",)

    def __init__(self, head: str, features: Sequence[str], size: int, **arguments: Any) -> None:
        super().__init__()
        if head not in heads.DETECTORS:
            raise ValueError(f"there is no detector {head!r}, there is {', '.join(heads.DETECTORS)}")
        self.input_names, self.size = tuple(features), size
        self.head = heads.build(head, device="meta", **arguments)

    def forward(self, *maps: Tensor) -> Tensor:
        """Maps B x C x h x w -> B x 100 x 7: x, y, width, height in pixels, angle in radians, score, label."""
        found: list[Detections] = self.head(maps, (self.size, self.size))
        return torch.stack([_row_of(detections) for detections in found])


def _row_of(found: Detections) -> Tensor:
    """100 x 7 float32 of one image."""
    boxes = found.boxes.float()
    if boxes.shape[1] == 4:  # corners -> centre, size, no angle
        low, high = boxes[:, :2], boxes[:, 2:]
        boxes = torch.cat([(low + high) / 2, high - low, torch.zeros_like(boxes[:, :1])], dim=1)
    rows = torch.cat([boxes, found.scores.float()[:, None], found.labels.float()[:, None]], dim=1)[:MOST_DETECTIONS]
    padded = rows.new_zeros(MOST_DETECTIONS, 7)
    padded[:, 5] = ABSENT_SCORE
    padded[: len(rows)] = rows
    return padded
