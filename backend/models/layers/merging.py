"""Adaptive patch merging (SkySense V2; skysense-v2.md, 3.4)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class AdaptiveMerging(nn.Module):
    """Doubles the width by one linear map that either merges 2 x 2 tokens or keeps the resolution.

    Without merging, the map's weight is averaged over its four position blocks. That equals merging four copies of
    each token, divided by 4, a factor which the LayerNorm that follows takes out (but for its eps).

    Args:
        width: numbers per token before; twice as many after.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(2 * width)

    def forward(self, tokens: Tensor, merge: bool) -> Tensor:
        """B x H x W x width -> B x ceil(H/2) x ceil(W/2) x 2 width if `merge`, else B x H x W x 2 width."""
        result: Tensor = self.norm(self.reduce(tokens, merge))
        return result

    def reduce(self, tokens: Tensor, merge: bool) -> Tensor:
        """The linear map alone, shapes as in `forward`."""
        if merge:
            result: Tensor = self.reduction(neighbours(tokens))
            return result
        outputs, inputs = self.reduction.weight.shape
        return functional.linear(tokens, self.reduction.weight.view(outputs, 4, inputs // 4).mean(dim=1))


def neighbours(tokens: Tensor) -> Tensor:
    """B x H x W x c -> B x ceil(H/2) x ceil(W/2) x 4c: [x00; x01; x10; x11] (row, column); zeros fill odd sides."""
    below, right = tokens.shape[1] % 2, tokens.shape[2] % 2
    if below or right:
        tokens = functional.pad(tokens, (0, 0, 0, right, 0, below))
    batch, rows, columns, width = tokens.shape
    blocks = tokens.reshape(batch, rows // 2, 2, columns // 2, 2, width).permute(0, 1, 3, 2, 4, 5)
    return blocks.reshape(batch, rows // 2, columns // 2, 4 * width)
