"""The contrastive term between a student's and a teacher's views (skysense-v2.md, 10.2; Caron et al. 2021, DINO)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.models.layers.initial import truncated_normal
from backend.models.layers.precision import full_precision
from backend.train.objectives.objective import Progress

HIDDEN, BOTTLENECK = 2048, 256
STUDENT_TEMPERATURE = 0.1
TEACHER_TEMPERATURES = (0.04, 0.07)  # from, to, over the first share of training
TEMPERATURE_SHARE = 0.05
CENTRE_MOMENTUM = 0.9

Mean = Callable[[Tensor], Tensor]


class ContrastHead(nn.Module):
    """From a feature to `outputs` logits: three layers, a narrow unit vector, a weight-normalised layer without bias.

    Args:
        width: numbers per feature.
        outputs: logits, K of the specification.
        hidden: width of the hidden layers.
        bottleneck: numbers of the unit vector.
    """

    def __init__(self, width: int, outputs: int, hidden: int = HIDDEN, bottleneck: int = BOTTLENECK) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        # Directions of unit length, without a length of their own: DINO fixes it at 1.
        self.last = nn.Parameter(torch.empty(outputs, bottleneck))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Truncated normal, std 0.02."""
        truncated_normal(self)
        nn.init.trunc_normal_(self.last, std=0.02)

    def forward(self, features: Tensor) -> Tensor:
        """... x width -> ... x outputs, float32."""
        with full_precision(features.device):
            unit = functional.normalize(self.mlp(features.float()), dim=-1)
            return functional.linear(unit, functional.normalize(self.last, dim=-1))


class Centre(nn.Module):
    """The running mean of the teacher's logits, which keeps one output from winning everything.

    Args:
        outputs: logits.
        momentum: of the mean.
    """

    centre: Tensor
    seen: Tensor
    count: Tensor

    def __init__(self, outputs: int, momentum: float = CENTRE_MOMENTUM) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("centre", torch.empty(outputs))
        self.register_buffer("seen", torch.empty(outputs))
        self.register_buffer("count", torch.empty(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Nothing seen yet."""
        for buffer in (self.centre, self.seen, self.count):
            nn.init.zeros_(buffer)

    @torch.no_grad()
    def add(self, logits: Tensor) -> None:
        """Takes note of teacher logits ... x outputs of this step."""
        flat = logits.detach().reshape(-1, logits.shape[-1])
        self.seen += flat.sum(dim=0)
        self.count += len(flat)

    @torch.no_grad()
    def move(self, total: Mean) -> None:
        """Moves towards the mean of what was noted since the last step.

        Args:
            total: sums a tensor over the processes.
        """
        seen, count = total(self.seen), total(self.count)
        if count > 0:
            self.centre.mul_(self.momentum).add_(seen / count, alpha=1 - self.momentum)
        self.seen.zero_()
        self.count.zero_()


def teacher_temperature(progress: Progress) -> float:
    """Rises in a line over the first twentieth of training."""
    first, last = TEACHER_TEMPERATURES
    return first + (last - first) * min(1.0, progress.share / TEMPERATURE_SHARE)


def targets(logits: Tensor, centre: Tensor, temperature: float) -> Tensor:
    """What the student is to predict: teacher logits ... x K -> probabilities, without gradient."""
    return ((logits.detach().float() - centre) / temperature).softmax(dim=-1)


def contrast(student: Tensor, wanted: Tensor) -> Tensor:
    """The mean of `contrasts`."""
    return contrasts(student, wanted).mean()


def contrasts(student: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy -sum p' log p of student logits ... x K against the teacher's probabilities: ..."""
    logarithms = (student.float() / STUDENT_TEMPERATURE).log_softmax(dim=-1)
    return -(wanted * logarithms).sum(dim=-1)
