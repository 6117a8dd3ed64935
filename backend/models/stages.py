"""Staged networks: one stage per input, and a join; see `Package.joins` of `backend.manifest.package`.

A staged network names the tensors of its stages and computes one at a time:

    stages: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]   inputs and outputs by stage; "join" is the last one
    compute(stage, *tensors) -> tuple[Tensor, ...]                  in the order of these names
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

JOIN = "join"


class Stage(nn.Module):
    """One stage as a network of its own, for a session or for an exported graph; weights are shared.

    Args:
        network: a staged network.
        name: the stage.
    """

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        self.network = network
        self.name = name
        stages: Any = network.stages
        self.input_names, self.output_names = stages[name]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The stage's outputs."""
        network: Any = self.network
        found: tuple[Tensor, ...] = network.compute(self.name, *tensors)
        return found
