"""Region proposals: where objects of any class may be (Ren et al. 2015, Faster R-CNN, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.models.heads.anchors import RATIOS
from backend.models.heads.box_format import BoxFormat
from backend.models.heads.detection import Targets
from backend.models.heads.matching import match, sample
from backend.models.ops import boxes as horizontal
from backend.models.ops.nms import suppress_by_group

# All of skysense-v2.md, 11.3.
POSITIVE, NEGATIVE = 0.7, 0.3  # overlap of an anchor with a target's enclosing box
SAMPLES, POSITIVE_SHARE = 256, 0.5  # anchors per image and step
BEFORE_SUPPRESSION = 2000  # proposals per level
PROPOSALS = 1000  # per image


class RegionProposals(nn.Module):
    """A 3 x 3 convolution and two 1 x 1 ones, the same on every level: objectness and box code of each anchor.

    Args:
        width: channels of every level.
        form: kind of box that is proposed.
    """

    def __init__(self, width: int, form: BoxFormat) -> None:
        super().__init__()
        self.form = form
        self.shared = nn.Conv2d(width, width, 3, padding=1)
        self.objectness = nn.Conv2d(width, len(RATIOS), 1)
        self.code = nn.Conv2d(width, len(RATIOS) * form.proposal_size, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Normal with standard deviation 0.01, biases zero (Ren et al. 2015, section 3.1.3)."""
        for convolution in (self.shared, self.objectness, self.code):
            assert convolution.bias is not None
            nn.init.normal_(convolution.weight, std=0.01)
            nn.init.zeros_(convolution.bias)

    def forward(self, *levels: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """B x width x H x W each -> per level B x N logits and B x N x proposal_size codes, float32.

        N counts (row, column, ratio), as the anchors do.
        """
        logits, codes = [], []
        for level in levels:
            features = functional.relu(self.shared(level))
            logits.append(self.objectness(features).permute(0, 2, 3, 1).flatten(1).float())
            code = self.code(features).permute(0, 2, 3, 1)
            codes.append(code.reshape(code.shape[0], -1, self.form.proposal_size).float())
        return logits, codes

    def losses(
        self,
        logits: Sequence[Tensor],
        codes: Sequence[Tensor],
        anchors: Sequence[Tensor],
        targets: Sequence[Targets],
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Cross-entropy of objectness and L1 of the positives' codes, both over all anchors sampled.

        Args:
            logits, codes: from `forward`.
            anchors: per level N x 4.
            targets: per image.
            generator: of the sampling.

        Returns:
            "proposal_objectness" and "proposal_boxes", float32.
        """
        references = torch.cat(list(anchors))
        all_logits, all_codes = torch.cat(list(logits), dim=1), torch.cat(list(codes), dim=1)
        objectness, regression, count = all_logits.new_zeros(()), all_logits.new_zeros(()), 0
        for image_logits, image_codes, target in zip(all_logits, all_codes, targets, strict=True):
            outer = self.form.enclosing(target.boxes)
            matched = match(references, outer, horizontal.overlaps, POSITIVE, NEGATIVE, rescue=True)
            positives, others = sample(matched, SAMPLES, POSITIVE_SHARE, generator)
            chosen = torch.cat([positives, others])
            truth = (matched[chosen] >= 0).float()
            objectness = objectness + functional.binary_cross_entropy_with_logits(
                image_logits[chosen], truth, reduction="sum"
            )
            wanted = self.form.encode_proposals(target.boxes[matched[positives]], references[positives])
            regression = regression + (image_codes[positives] - wanted).abs().sum()
            count += len(chosen)
        count = max(count, 1)
        return {"proposal_objectness": objectness / count, "proposal_boxes": regression / count}

    @torch.no_grad()
    def propose(
        self,
        logits: Sequence[Tensor],
        codes: Sequence[Tensor],
        anchors: Sequence[Tensor],
        image_size: tuple[int, int],
    ) -> list[Tensor]:
        """The boxes of each image that look most like objects, none without area: per image N x D, N up to PROPOSALS.

        The best of each level are decoded and thinned out among each other; the best of all levels remain.
        """
        return [
            self._propose([level[image] for level in logits], [level[image] for level in codes], anchors, image_size)
            for image in range(len(logits[0]))
        ]

    def _propose(
        self, logits: list[Tensor], codes: list[Tensor], anchors: Sequence[Tensor], image_size: tuple[int, int]
    ) -> Tensor:
        found, scores, groups = [], [], []
        for group, (level_logits, level_codes, references) in enumerate(zip(logits, codes, anchors, strict=True)):
            best = level_logits.argsort(descending=True, stable=True)[:BEFORE_SUPPRESSION]
            proposals = self.form.decode_proposals(level_codes[best], references[best], image_size)
            real = self.form.areas(proposals) > 0
            found.append(proposals[real])
            scores.append(level_logits[best][real])
            groups.append(torch.full_like(scores[-1], group, dtype=torch.int64))
        proposals, limit = torch.cat(found), self.form.proposal_suppression
        outer = self.form.enclosing(proposals)
        kept = suppress_by_group(
            outer, torch.cat(scores), torch.cat(groups), limit, horizontal.overlaps, limit=PROPOSALS
        )
        return proposals[kept]
