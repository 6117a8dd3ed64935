"""What the two-stage detector has to know about its kind of box; horizontal and oriented boxes answer it."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class BoxFormat(Protocol):
    """A kind of box with D numbers, its codes, its overlap and how maps are read inside it.

    Attributes:
        size: D, also the numbers per code of the box head.
        proposal_size: numbers per code of the region proposals.
        proposal_suppression: largest overlap of two proposals' enclosing boxes.
        suppression: largest overlap of two detections of one class.
    """

    size: int
    proposal_size: int
    proposal_suppression: float
    suppression: float

    def enclosing(self, boxes: Tensor) -> Tensor:
        """N x D -> N x 4 horizontal boxes."""
        ...

    def areas(self, boxes: Tensor) -> Tensor:
        """N x D -> N, in square pixels."""
        ...

    def overlaps(self, first: Tensor, second: Tensor) -> Tensor:
        """N x D and M x D -> N x M intersection over union."""
        ...

    def encode_proposals(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        """N x D boxes and N x 4 anchors -> N x proposal_size."""
        ...

    def decode_proposals(self, codes: Tensor, anchors: Tensor, image_size: tuple[int, int]) -> Tensor:
        """N x proposal_size and N x 4 -> N x D, within the image where the format can be cut."""
        ...

    def encode(self, boxes: Tensor, references: Tensor) -> Tensor:
        """N x D each -> N x D."""
        ...

    def decode(self, codes: Tensor, references: Tensor, image_size: tuple[int, int]) -> Tensor:
        """N x D codes and references -> N x D, within the image where the format can be cut."""
        ...

    def read(self, features: Tensor, boxes: Tensor, stride: int) -> Tensor:
        """C x H x W of one image and N x D -> N x C x 7 x 7."""
        ...
