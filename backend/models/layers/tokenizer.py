"""Patches to tokens (skysense-v2.md, 2)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from backend.models.layers.initial import truncated_normal


class Tokenizer(nn.Module):
    """Linear embedding of patches that do not overlap, then LayerNorm.

    Args:
        channels: of the image.
        width: numbers per token.
        patch: side of a patch in pixels.
    """

    def __init__(self, channels: int, width: int, patch: int = 4) -> None:
        super().__init__()
        self.patch = patch
        self.projection = nn.Conv2d(channels, width, patch, patch)
        self.norm = nn.LayerNorm(width)

    def reset_parameters(self) -> None:
        """Truncated normal, std 0.02; the norm starts as usual."""
        truncated_normal(self)

    def forward(self, image: Tensor) -> Tensor:
        """B x channels x H x W -> B x ceil(H/patch) x ceil(W/patch) x width; zeros fill up at the right and bottom."""
        below, right = -image.shape[2] % self.patch, -image.shape[3] % self.patch
        if below or right:
            image = functional.pad(image, (0, right, 0, below))
        tokens: Tensor = self.norm(self.projection(image).permute(0, 2, 3, 1))
        return tokens
