"""What goes into and comes out of a detector, per image."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Targets:
    """The objects of one image; none is allowed.

    Args:
        boxes: N x 4 (x1, y1, x2, y2) for horizontal detectors, N x 5 (x, y, width, height, angle) for oriented ones
            (see `backend.models.ops.rotated`), float32 pixels.
        labels: N int64, classes from 0.

    Raises:
        ValueError: the shapes do not fit.
    """

    boxes: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.boxes.ndim != 2 or self.labels.shape != self.boxes.shape[:1]:
            raise ValueError(
                f"boxes {tuple(self.boxes.shape)} and labels {tuple(self.labels.shape)} are not N x D and N"
            )


@dataclass(frozen=True)
class Detections:
    """What was found in one image, by falling score.

    Args:
        boxes: N x 4 or N x 5 as in `Targets`; oriented ones in the long-edge convention.
        labels: N int64.
        scores: N float32, probability of the class.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
