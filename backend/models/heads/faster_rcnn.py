"""Faster R-CNN (Ren et al. 2015) on a feature pyramid: horizontal boxes (x1, y1, x2, y2) in pixels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from backend.models.heads.two_stage import TwoStageDetector
from backend.models.ops import boxes as horizontal
from backend.models.ops.roi_align import roi_align

PROPOSAL_SCALES = (1.0, 1.0, 1.0, 1.0)
SCALES = (0.1, 0.1, 0.2, 0.2)  # of the box head's codes (skysense-v2.md, 11.3)


class Horizontal:
    """Boxes (x1, y1, x2, y2); see `BoxFormat`. Suppression as in skysense-v2.md, 11.3."""

    size = 4
    proposal_size = 4
    proposal_suppression = 0.7
    suppression = 0.5

    def enclosing(self, boxes: Tensor) -> Tensor:
        """The boxes themselves."""
        return boxes

    def areas(self, boxes: Tensor) -> Tensor:
        """N x 4 -> N."""
        return horizontal.areas(boxes)

    def overlaps(self, first: Tensor, second: Tensor) -> Tensor:
        """N x 4 and M x 4 -> N x M."""
        return horizontal.overlaps(first, second)

    def encode_proposals(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        """N x 4 each -> N x 4."""
        return horizontal.encode(boxes, anchors, PROPOSAL_SCALES)

    def decode_proposals(self, codes: Tensor, anchors: Tensor, image_size: tuple[int, int]) -> Tensor:
        """N x 4 each -> N x 4, cut to the image."""
        return horizontal.clip(horizontal.decode(codes, anchors, PROPOSAL_SCALES), image_size)

    def encode(self, boxes: Tensor, references: Tensor) -> Tensor:
        """N x 4 each -> N x 4."""
        return horizontal.encode(boxes, references, SCALES)

    def decode(self, codes: Tensor, references: Tensor, image_size: tuple[int, int]) -> Tensor:
        """N x 4 each -> N x 4, cut to the image."""
        return horizontal.clip(horizontal.decode(codes, references, SCALES), image_size)

    def read(self, features: Tensor, boxes: Tensor, stride: int) -> Tensor:
        """C x H x W and N x 4 -> N x C x 7 x 7."""
        return roi_align(features, boxes, stride)


class FasterRCNN(TwoStageDetector):
    """The detector of horizontal boxes; arguments and calls as in `TwoStageDetector`."""

    def __init__(self, channels: Sequence[int], classes: int, width: int = 256, hidden: int = 1024) -> None:
        super().__init__(Horizontal(), channels, classes, width, hidden)
