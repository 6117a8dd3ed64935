"""Which parameters share a learning rate and a weight decay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import AdamW, Optimizer

from backend.train.objectives.objective import Objective, Progress
from backend.train.optim.schedules import OptimConfig

Depth = Callable[[str], int]


def parameter_groups(
    objective: Objective, layer_decay: float = 1.0, depth: Depth | None = None
) -> list[dict[str, Any]]:
    """The trained parameters by weight decay and factor of the learning rate.

    Tensors of fewer than two dimensions have no weight decay, nor has what the objective names.

    Args:
        objective: its parameters that require gradients.
        layer_decay: factor per layer below the top.
        depth: layers between a parameter and the top, by name; None for 0 everywhere.

    Returns:
        groups of torch's optimisers; "decayed" and "factor" say how `adjust` sets them, "names" whose they are.
    """
    members: dict[tuple[bool, float], list[tuple[str, torch.nn.Parameter]]] = defaultdict(list)
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            decayed = parameter.ndim > 1 and not objective.undecayed(name)
            factor = layer_decay ** (depth(name) if depth else 0)
            members[decayed, factor].append((name, parameter))
    return [
        {"params": [p for _, p in some], "names": [name for name, _ in some], "decayed": decayed, "factor": factor}
        for (decayed, factor), some in sorted(members.items(), key=lambda item: item[0])
    ]


def optimiser_of(objective: Objective, config: OptimConfig, depth: Depth | None = None) -> AdamW:
    """AdamW over the objective's trained parameters; `adjust` sets rate and decay before every step."""
    groups = parameter_groups(objective, config.layer_decay, depth)
    return AdamW(groups, lr=config.rate, betas=config.betas, weight_decay=0.0)


def adjust(optimiser: Optimizer, objective: Objective, config: OptimConfig, progress: Progress) -> float:
    """Sets rate and decay of every group for a step, and takes the gradients of what is held; returns the rate."""
    rate, decay = config.rate_at(progress), config.decay_at(progress)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]
        group["weight_decay"] = decay if group["decayed"] else 0.0
        for name, parameter in zip(group["names"], group["params"], strict=True):
            if objective.held(name, progress):
                parameter.grad = None  # AdamW leaves what has no gradient as it is
    return rate
