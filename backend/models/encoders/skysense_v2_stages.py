"""The two kinds of stages of SkySense V2 (skysense-v2.md, 3.2 to 3.6): windowed ones, and global ones with prompts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from backend.models.layers.experts import Experts, RoutedBlock, Routing
from backend.models.layers.positions import PositionTable, SineCosinePositions
from backend.models.layers.swin import SwinBlock

HEAD = 32  # numbers per head, everywhere in the backbone
RATIO = 4  # hidden width of every MLP over the width of its tokens
POSITIONS = ("learned", "sine-cosine")


class WindowStage(nn.Module):
    """Swin V2 blocks, every second one shifted.

    Args:
        width: numbers per token, a multiple of 32.
        experts: per block, the number of experts; 0 for a plain MLP.
        drop_path: per block, the rate of stochastic depth.
        mask_padding: see `SwinBlock`.
    """

    def __init__(
        self, width: int, experts: Sequence[int], drop_path: Sequence[float], mask_padding: bool = True
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(
                width,
                width // HEAD,
                shifted=index % 2 == 1,
                mask_padding=mask_padding,
                drop_path=rate,
                mlp=_mlp(width, count),
            )
            for index, (count, rate) in enumerate(zip(experts, drop_path, strict=True))
        )

    def forward(self, tokens: Tensor, modality: str, routing: list[Routing] | None = None) -> Tensor:
        """B x H x W x width -> B x H x W x width, alike for every modality."""
        for block in self.blocks:
            tokens = block(tokens, routing)
        return tokens


class GlobalStage(nn.Module):
    """Transformer blocks over all tokens of an image and the prompts of its modality, which end with the stage.

    Args:
        width: numbers per token, a multiple of 32.
        experts: per block, the number of experts; 0 for a plain MLP.
        drop_path: per block, the rate of stochastic depth.
        grid: side of the base grid of the position table in tokens.
        modalities: names of the modalities.
        prompts: prompts per modality; 0 for none.
        positions: "learned" for a table that all modalities share, "sine-cosine" for a fixed one.
    """

    def __init__(
        self,
        width: int,
        experts: Sequence[int],
        drop_path: Sequence[float],
        grid: int,
        modalities: Sequence[str],
        prompts: int = 4,
        positions: str = "learned",
    ) -> None:
        super().__init__()
        if positions not in POSITIONS:
            raise ValueError(f"positions are {' or '.join(POSITIONS)}, not {positions}")
        table = PositionTable if positions == "learned" else SineCosinePositions
        self.positions = table(grid, grid, width)
        self.prompt_count = prompts
        self.prompts = nn.ParameterDict(
            {name: nn.Parameter(torch.empty(prompts, width)) for name in modalities if prompts}
        )
        self.blocks = nn.ModuleList(
            RoutedBlock(width, width // HEAD, RATIO, drop_path=rate, mlp=_mlp(width, count))
            for count, rate in zip(experts, drop_path, strict=True)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Prompts: truncated normal, std 0.02."""
        for prompt in self.prompts.values():
            nn.init.trunc_normal_(prompt, std=0.02)

    def forward(self, tokens: Tensor, modality: str, routing: list[Routing] | None = None) -> Tensor:
        """B x H x W x width -> B x H x W x width."""
        batch, rows, columns, width = tokens.shape
        sequence = tokens.reshape(batch, rows * columns, width)
        sequence = sequence + self.positions(rows, columns).to(sequence)
        if self.prompt_count:
            prompts = self.prompts[modality].to(sequence.dtype).expand(batch, -1, -1)
            sequence = torch.cat([prompts, sequence], dim=1)
        for block in self.blocks:
            sequence = block(sequence, routing=routing)
        return sequence[:, self.prompt_count :].reshape(batch, rows, columns, width)


def _mlp(width: int, experts: int) -> nn.Module | None:
    """Experts in place of a block's MLP; None leaves the block its own."""
    return Experts(width, RATIO * width, experts) if experts else None
