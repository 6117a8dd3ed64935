"""What the trainer asks of an objective, whatever it trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn


class Progress(NamedTuple):
    """Where a run stands.

    Attributes:
        step: optimiser steps that are done.
        steps: optimiser steps of the whole run.
    """

    step: int
    steps: int

    @property
    def share(self) -> float:
        """Done part of the run, 0 to 1."""
        return min(1.0, self.step / max(1, self.steps))


class Losses(NamedTuple):
    """Losses of one batch.

    Attributes:
        total: scalar that is differentiated.
        parts: what is logged, scalars by name, such as "pixel" or "balance"; without gradients.
        counts: what was seen, by name, such as "samples" or "several_modalities"; added up over processes and steps.
    """

    total: Tensor
    parts: dict[str, Tensor]
    counts: dict[str, int]


class Objective(nn.Module, ABC):
    """Networks and what they are trained for. Its parameters that require gradients are what is optimised.

    Everything that must survive a restart is a parameter or a persistent buffer: teachers, centres, counters. What is
    drawn depends on the samples' keys; torch's own generators, as for dropped paths, are seeded by the trainer from the
    seed, the step and the part of the batch.

    A global batch is cut into equal parts, one for every process and accumulation step, and the losses and gradients of
    the parts are averaged. A loss that is a mean over samples is therefore the same however many parts there are. One
    that is a mean over something else, such as pixels with data or pairs within a batch, weighs every part alike.

    Where parameters are in shards, a block calls for those of the other processes: every process must call the same
    blocks in the same order, whatever its samples lack.
    """

    @abstractmethod
    def forward(self, batch: Any, progress: Progress) -> Losses:
        """Losses of a batch; called under autocast, so losses compute in float32 where that matters."""

    @abstractmethod
    def exported(self) -> nn.Module:
        """The network that is released: the student, or the teacher where there is one."""

    def undecayed(self, name: str) -> bool:
        """Whether a parameter goes without weight decay beside those of fewer than two dimensions."""
        return False

    def held(self, name: str, progress: Progress) -> bool:
        """Whether a parameter is not moved yet, such as the last layer of a contrastive head at the begin."""
        return False

    def after_step(self, progress: Progress) -> None:
        """What follows an optimiser step: teachers, centres."""

    def blocks(self) -> Iterable[nn.Module]:
        """Modules that are spread and recomputed as a unit, outermost repetition of the network."""
        return ()

    def pictures(self, batch: Any, progress: Progress) -> Mapping[str, np.ndarray]:
        """Example pictures of a batch by name, H x W x 3 uint8; called without gradients, in every process."""
        return {}
