"""The second stage of a detector: which class a proposal shows, and where exactly its box lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.models.heads.box_format import BoxFormat
from backend.models.heads.detection import Detections, Targets
from backend.models.heads.matching import match, sample
from backend.models.ops.nms import suppress_by_group
from backend.models.ops.roi_align import SIZE

# All of skysense-v2.md, 11.3.
POSITIVE = 0.5  # overlap of a proposal with a target; below it is background
SAMPLES, POSITIVE_SHARE = 512, 0.25  # proposals per image and step
LEAST_SCORE = 0.05
DETECTIONS = 100  # per image


@dataclass(frozen=True)
class Samples:
    """The proposals of one image that take part in a step, positives first.

    Args:
        boxes: N x D.
        labels: N int64; the number of classes stands for background.
        wanted: P x D, the targets of the P positives.
    """

    boxes: Tensor
    labels: Tensor
    wanted: Tensor


class BoxHead(nn.Module):
    """Two fully connected layers, then class logits and one box code per class (Girshick 2015, Fast R-CNN).

    Args:
        width: channels of the maps that proposals are read from.
        classes: without background.
        form: kind of box.
        hidden: width of the fully connected layers.
    """

    def __init__(self, width: int, classes: int, form: BoxFormat, hidden: int = 1024) -> None:
        super().__init__()
        self.form = form
        self.classes = classes
        self.fc1 = nn.Linear(width * SIZE * SIZE, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.classify = nn.Linear(hidden, classes + 1)
        self.code = nn.Linear(hidden, classes * form.size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier uniform; normal 0.01 for classes and 0.001 for codes (Girshick 2015, section 3.1); biases zero."""
        for layer in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(layer.weight)
        nn.init.normal_(self.classify.weight, std=0.01)
        nn.init.normal_(self.code.weight, std=0.001)
        for layer in (self.fc1, self.fc2, self.classify, self.code):
            nn.init.zeros_(layer.bias)

    def forward(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """N x width x 7 x 7 -> logits N x (classes + 1), background last, and codes N x classes x D, float32."""
        features = functional.relu(self.fc2(functional.relu(self.fc1(regions.flatten(1)))))
        codes = self.code(features).reshape(-1, self.classes, self.form.size)
        return self.classify(features).float(), codes.float()

    @torch.no_grad()
    def choose(self, proposals: Tensor, target: Targets, generator: torch.Generator | None = None) -> Samples:
        """Samples of one image from its proposals N x D and its targets, which are proposals as well.

        With the targets among them there are positives from the first step on.
        """
        candidates = torch.cat([proposals, target.boxes])
        matched = match(candidates, target.boxes, self.form.overlaps, POSITIVE, POSITIVE)
        positives, others = sample(matched, SAMPLES, POSITIVE_SHARE, generator)
        background = torch.full_like(others, self.classes)
        return Samples(
            candidates[torch.cat([positives, others])],
            torch.cat([target.labels[matched[positives]], background]),
            target.boxes[matched[positives]],
        )

    def losses(self, logits: Tensor, codes: Tensor, samples: Sequence[Samples]) -> dict[str, Tensor]:
        """Cross-entropy, and L1 of the true class's code for positives, both over all samples.

        Args:
            logits: N x (classes + 1) of the samples of all images in a row.
            codes: N x classes x D.
            samples: per image.

        Returns:
            "box_classes" and "boxes", float32.
        """
        labels = torch.cat([sample.labels for sample in samples])
        references = torch.cat([sample.boxes for sample in samples])
        positives = (labels < self.classes).nonzero()[:, 0]
        wanted = self.form.encode(torch.cat([sample.wanted for sample in samples]), references[positives])
        count = max(len(labels), 1)
        classes = functional.cross_entropy(logits, labels, reduction="sum")
        regression = (codes[positives, labels[positives]] - wanted).abs().sum()
        return {"box_classes": classes / count, "boxes": regression / count}

    @torch.no_grad()
    def detect(self, logits: Tensor, codes: Tensor, proposals: Tensor, image_size: tuple[int, int]) -> Detections:
        """The detections of one image from the outputs for its proposals N x D."""
        scores = logits.softmax(dim=1)[:, : self.classes]
        regions, labels = (scores >= LEAST_SCORE).nonzero(as_tuple=True)
        found = self.form.decode(codes[regions, labels], proposals[regions], image_size)
        chances = scores[regions, labels]
        real = self.form.areas(found) > 0
        found, labels, chances = found[real], labels[real], chances[real]
        kept = suppress_by_group(found, chances, labels, self.form.suppression, self.form.overlaps, limit=DETECTIONS)
        return Detections(found[kept], labels[kept], chances[kept])
