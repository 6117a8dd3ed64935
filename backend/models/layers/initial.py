"""Initial values that whole networks share."""

from __future__ import annotations

from torch import nn


def truncated_normal(module: nn.Module, std: float = 0.02) -> None:
    """Every linear layer and convolution inside: weights from a truncated normal, biases zero (as ViT and Swin)."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
