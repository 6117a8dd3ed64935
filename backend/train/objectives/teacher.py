"""The teacher: a moving average of the student, which is what is released (skysense-v2.md, 10.1)."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from backend.train.objectives.objective import Progress
from backend.train.optim.schedules import cosine

Network = TypeVar("Network", bound=nn.Module)
FIRST_MOMENTUM, LAST_MOMENTUM = 0.996, 1.0


def teacher_of(student: Network) -> Network:
    """A copy that takes no gradients and drops nothing."""
    teacher = copy.deepcopy(student).eval()
    return teacher.requires_grad_(False)


def momentum(progress: Progress) -> float:
    """Half a cosine from 0.996 to 1 over training."""
    return cosine(progress.share, FIRST_MOMENTUM, LAST_MOMENTUM)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, share: float) -> None:
    """Moves the teacher: share * teacher + (1 - share) * student; buffers are taken over.

    Args:
        teacher, student: of the same structure.
        share: see `momentum`.
    """
    for mine, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
        mine.lerp_(theirs.detach().to(mine.dtype), 1 - share)
    for kept, given in zip(teacher.buffers(), student.buffers(), strict=True):
        kept.copy_(given)
