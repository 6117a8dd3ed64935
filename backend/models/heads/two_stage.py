"""The two-stage detector: pyramid, region proposals, box head; the kind of box is given to it.

It works on the maps of any encoder. All boxes are in pixels of the image that the maps were computed from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from backend.models.heads.anchors import anchor_grid
from backend.models.heads.box_format import BoxFormat
from backend.models.heads.box_head import BoxHead
from backend.models.heads.detection import Detections, Targets
from backend.models.heads.feature_pyramid import FeaturePyramid, pyramid_level
from backend.models.heads.region_proposals import RegionProposals
from backend.models.ops.roi_align import SIZE


class TwoStageDetector(nn.Module):
    """Horizontal or oriented boxes from four maps of strides 4, 8, 16 and 32.

    Args:
        form: kind of box.
        channels: of the four maps, fine to coarse.
        classes: number of classes, without background.
        width: channels of the pyramid.
        hidden: width of the box head.
    """

    strides: ClassVar[tuple[int, ...]] = (4, 8, 16, 32, 64)

    def __init__(
        self, form: BoxFormat, channels: Sequence[int], classes: int, width: int = 256, hidden: int = 1024
    ) -> None:
        super().__init__()
        if len(channels) != len(self.strides) - 1:
            raise ValueError(f"a detector takes {len(self.strides) - 1} maps, not {len(channels)}")
        self.form = form
        self.pyramid = FeaturePyramid(channels, width)
        self.proposals = RegionProposals(width, form)
        self.box_head = BoxHead(width, classes, form, hidden)

    def forward(
        self,
        maps: Sequence[Tensor],
        image_size: tuple[int, int],
        targets: Sequence[Targets] | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor] | list[Detections]:
        """Losses in training, detections in evaluation.

        Args:
            maps: four of B x channels x H x W, fine to coarse.
            image_size: height and width of the images in pixels.
            targets: per image; needed in training.
            generator: of the sampling in training, on the CPU; None for torch's own.

        Returns:
            `losses` in training mode, `detect` in evaluation mode.

        Raises:
            ValueError: training without targets.
        """
        if not self.training:
            return self.detect(maps, image_size)
        if targets is None:
            raise ValueError("a detector learns from targets")
        return self.losses(maps, image_size, targets, generator)

    def losses(
        self,
        maps: Sequence[Tensor],
        image_size: tuple[int, int],
        targets: Sequence[Targets],
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """The four losses of `RegionProposals.losses` and `BoxHead.losses`, float32, to be added with weight 1."""
        self._check_strides(maps, image_size)
        levels = self.pyramid(*maps)
        anchors = self._anchors(levels)
        objectness, outlines = self.proposals(*levels)
        found = self.proposals.losses(objectness, outlines, anchors, targets, generator)
        proposals = self.proposals.propose(objectness, outlines, anchors, image_size)
        samples = [
            self.box_head.choose(boxes, target, generator) for boxes, target in zip(proposals, targets, strict=True)
        ]
        logits, codes = self.box_head(self._read(levels, [sample.boxes for sample in samples]))
        return {**found, **self.box_head.losses(logits, codes, samples)}

    @torch.no_grad()
    def detect(self, maps: Sequence[Tensor], image_size: tuple[int, int]) -> list[Detections]:
        """Detections per image; the same maps give the same detections."""
        self._check_strides(maps, image_size)
        levels = self.pyramid(*maps)
        objectness, outlines = self.proposals(*levels)
        proposals = self.proposals.propose(objectness, outlines, self._anchors(levels), image_size)
        counts = [len(boxes) for boxes in proposals]
        logits, codes = self.box_head(self._read(levels, proposals))
        return [
            self.box_head.detect(image_logits, image_codes, found, image_size)
            for image_logits, image_codes, found in zip(
                logits.split(counts), codes.split(counts), proposals, strict=True
            )
        ]

    def _check_strides(self, maps: Sequence[Tensor], image_size: tuple[int, int]) -> None:
        """The maps may cover more than the image, but each has half the cells of the one before it."""
        shapes = [tuple(level.shape[-2:]) for level in maps]
        finest = self.strides[0]
        halved = all(
            later == tuple(-(-side // 2) for side in earlier)
            for earlier, later in zip(shapes, shapes[1:], strict=False)
        )
        if not halved or any(cells * finest < side for cells, side in zip(shapes[0], image_size, strict=True)):
            raise ValueError(f"a detector takes maps of the strides {self.strides[:-1]}, not of {shapes} cells")

    def _anchors(self, levels: Sequence[Tensor]) -> list[Tensor]:
        return [
            anchor_grid(level.shape[-2], level.shape[-1], stride, level.device)
            for level, stride in zip(levels, self.strides, strict=True)
        ]

    def _read(self, levels: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Boxes per image N x D, each from the level of its size -> (all N in a row) x width x 7 x 7 float32.

        The topmost level is for proposals only (Lin et al. 2017, section 4.1).
        """
        sources = levels[:-1]
        parts, places = [sources[0].new_zeros(0, sources[0].shape[1], SIZE, SIZE, dtype=torch.float32)], []
        start = 0
        for image, found in enumerate(boxes):
            choice = pyramid_level(self.form.areas(found), self.strides[0], len(sources))
            for number, (source, stride) in enumerate(zip(sources, self.strides, strict=False)):
                members = (choice == number).nonzero()[:, 0]
                if len(members):
                    parts.append(self.form.read(source[image], found[members], stride))
                    places.append(members + start)
            start += len(found)
        if not places:
            return parts[0]
        return torch.cat(parts)[torch.cat(places).argsort()]
