"""Change of two dates by a head for maps that both dates share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn


class SiameseDifference(nn.Module):
    """The head sees the absolute difference of the dates' maps, level by level; the order of the dates is lost.

    Args:
        head: takes maps and a size.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, before: Sequence[Tensor], after: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Maps B x C x h x w of each date, fine to coarse -> what the head gives for `size`."""
        difference = [(second - first).abs() for first, second in zip(before, after, strict=True)]
        result: Tensor = self.head(difference, size)
        return result


class ClassesAndChange(NamedTuple):
    """Classes of two dates and where they differ.

    Attributes:
        before, after: logits B x classes x H x W, float32.
        changed: B x H x W, bool: the class of the highest score is not the same.
    """

    before: Tensor
    after: Tensor
    changed: Tensor

    def probability(self) -> Tensor:
        """Probability of change, see `change_probability`."""
        return change_probability(self.before, self.after)


class SemanticChange(nn.Module):
    """One head classifies each date; change is where the classes differ (skysense-v2.md, 11.4).

    It is trained as a head for maps, on single dates.

    Args:
        head: takes maps and a size.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, before: Sequence[Tensor], after: Sequence[Tensor], size: tuple[int, int]) -> ClassesAndChange:
        """Maps B x C x h x w of each date, fine to coarse -> classes of both dates at `size`, and the change."""
        first, second = self.head(before, size), self.head(after, size)
        return ClassesAndChange(first, second, first.argmax(dim=1) != second.argmax(dim=1))


def change_probability(before: Tensor, after: Tensor) -> Tensor:
    """1 - sum over the classes c of p_before(c) p_after(c): logits B x classes x H x W -> B x H x W, float32.

    The probability that two independent draws from the dates' class probabilities differ.
    """
    return 1.0 - (before.float().softmax(dim=1) * after.float().softmax(dim=1)).sum(dim=1)
