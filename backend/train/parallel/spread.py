"""How a network is spread over the processes: copies that average gradients (DDP), or shards (FSDP2).

Networks know nothing of it: an objective names the blocks that are spread and recomputed as units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import distributed, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from backend.train.objectives.objective import Losses, Objective, Progress
from backend.train.parallel.processes import Processes

KINDS = ("none", "ddp", "fsdp")


class Spread:
    """An objective over the processes; call it as the objective.

    Args:
        objective: moved to the process's device.
        group: the processes.
        kind: "none", "ddp" or "fsdp".
        recompute: whether blocks keep no activations and compute them again for the gradients.
        compiled: whether blocks are compiled.

    Raises:
        ValueError: the kind is unknown, or "none" for several processes.
    """

    def __init__(
        self, objective: Objective, group: Processes, kind: str, recompute: bool = False, compiled: bool = False
    ) -> None:
        if kind not in KINDS or (kind == "none" and group.count > 1):
            raise ValueError(f"{group.count} processes cannot be spread by {kind!r}, there is {', '.join(KINDS)}")
        self.objective = objective.to(group.device)
        self.kind = kind
        if recompute:
            _replace_blocks(objective, checkpoint_wrapper)
        if compiled:
            for block in objective.blocks():
                block.compile()
        self._call: Callable[..., Losses] = self.objective
        if kind == "ddp":
            ids = [group.device.index] if group.device.type == "cuda" else None
            # Samples may lack modalities, and with them a batch the parameters behind these.
            self._call = DistributedDataParallel(self.objective, device_ids=ids, find_unused_parameters=True)
        elif kind == "fsdp":
            mesh = init_device_mesh(group.device.type, (group.count,))
            for block in self.objective.blocks():
                fully_shard(block, mesh=mesh)
            fully_shard(self.objective, mesh=mesh)

    def __call__(self, batch: Any, progress: Progress) -> Losses:
        """Losses of this process's part of a batch."""
        return self._call(batch, progress)

    @contextmanager
    def accumulating(self, more: bool) -> Iterator[None]:
        """Gradients wait for the last part of a batch before they cross the processes; `more` for all but that."""
        sharded: Any = self.objective
        if self.kind == "fsdp":
            sharded.set_requires_gradient_sync(not more)
        with self._call.no_sync() if more and isinstance(self._call, DistributedDataParallel) else nullcontext():
            yield


def _replace_blocks(objective: nn.Module, wrap: Callable[[nn.Module], nn.Module]) -> None:
    blocks = {id(block) for block in objective.blocks()} if isinstance(objective, Objective) else set()
    for parent in list(objective.modules()):
        for name, child in list(parent.named_children()):
            if id(child) in blocks:
                setattr(parent, name, wrap(child))


def gradient_norm(parameters: list[nn.Parameter]) -> torch.Tensor:
    """Norm of all gradients together, over all shards; 0 where there are none."""
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return torch.zeros(())
    norm = nn.utils.get_total_norm(grads)
    full = getattr(norm, "full_tensor", None)
    return full() if callable(full) else norm


def available() -> bool:
    """Whether this build of torch can run several processes."""
    return distributed.is_available()
