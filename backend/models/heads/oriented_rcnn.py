"""Oriented R-CNN (Xie et al. 2021) on a feature pyramid: boxes (x, y, width, height, angle), see `ops.rotated`."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from backend.models.heads.two_stage import TwoStageDetector
from backend.models.ops import midpoint_offsets, rotated
from backend.models.ops.roi_align import rotated_roi_align

# The scales beyond those of horizontal boxes, and the overlap of proposals, are those of the published configuration.
PROPOSAL_SCALES = (1.0, 1.0, 1.0, 1.0, 0.5, 0.5)
SCALES = (0.1, 0.1, 0.2, 0.2, 0.1)


class Oriented:
    """Boxes (x, y, width, height, angle) in the long-edge convention; see `BoxFormat`.

    They are not cut at the image's border: a cut rectangle is none. Suppression of detections as in skysense-v2.md,
    11.3; proposals are thinned out by their enclosing boxes, which overlap more than they do.
    """

    size = 5
    proposal_size = 6
    proposal_suppression = 0.8
    suppression = 0.1

    def enclosing(self, boxes: Tensor) -> Tensor:
        """N x 5 -> N x 4."""
        return rotated.enclosing(boxes)

    def areas(self, boxes: Tensor) -> Tensor:
        """N x 5 -> N."""
        return boxes[:, 2] * boxes[:, 3]

    def overlaps(self, first: Tensor, second: Tensor) -> Tensor:
        """N x 5 and M x 5 -> N x M."""
        return rotated.overlaps(first, second)

    def encode_proposals(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        """N x 5 and N x 4 -> N x 6 midpoint offsets."""
        return midpoint_offsets.encode(boxes, anchors, PROPOSAL_SCALES)

    def decode_proposals(self, codes: Tensor, anchors: Tensor, image_size: tuple[int, int]) -> Tensor:
        """N x 6 and N x 4 -> N x 5."""
        return midpoint_offsets.decode(codes, anchors, PROPOSAL_SCALES)

    def encode(self, boxes: Tensor, references: Tensor) -> Tensor:
        """N x 5 each -> N x 5."""
        return rotated.encode(boxes, references, SCALES)

    def decode(self, codes: Tensor, references: Tensor, image_size: tuple[int, int]) -> Tensor:
        """N x 5 each -> N x 5."""
        return rotated.decode(codes, references, SCALES)

    def read(self, features: Tensor, boxes: Tensor, stride: int) -> Tensor:
        """C x H x W and N x 5 -> N x C x 7 x 7, turned with the box."""
        return rotated_roi_align(features, boxes, stride)


class OrientedRCNN(TwoStageDetector):
    """The detector of oriented boxes; arguments and calls as in `TwoStageDetector`."""

    def __init__(self, channels: Sequence[int], classes: int, width: int = 256, hidden: int = 1024) -> None:
        super().__init__(Oriented(), channels, classes, width, hidden)
