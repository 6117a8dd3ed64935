"""Small SkySense V2 networks for tests, with weights that hide nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from backend.models.encoders.skysense_v2 import SkySenseV2
from backend.models.layers.swin import SwinBlock
from backend.models.load import initialise

CHANNELS = {"hr": 3, "ms": 10, "sar": 2}
SMALL: dict[str, Any] = {
    "width": 32,
    "depths": (1, 2, 2, 1),
    "experts": 4,
    "expert_blocks": 2,
    "grids": (8, 4),
    "fusion_width": 32,
    "fusion_layers": 2,
    "fusion_heads": 2,
}


def small(seed: int = 0, **changes: Any) -> SkySenseV2:
    """A network in evaluation mode whose branches all count: the norms that start at zero are made random."""
    with torch.device("meta"):
        network = SkySenseV2(**{**SMALL, **changes})
    initialise(network, seed=seed)
    for block in network.modules():
        if isinstance(block, SwinBlock):
            nn.init.normal_(block.norm1.weight, std=0.5)
            nn.init.normal_(block.norm2.weight, std=0.5)
    return network.eval()


def count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())
