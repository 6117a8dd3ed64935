"""How a network is spread over the processes: copies that average gradients (DDP), or shards (FSDP2).

Networks know nothing of it: an objective names the blocks that are spread and recomputed as units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from backend.models.layers.experts import Experts
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
        blocks = list(objective.blocks())
        for block in blocks:
            if recompute:
                # In place of a module around the block, which would change the names of its parameters.
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)
            if compiled:
                block.compile()
        self._call: Callable[..., Losses] = self.objective
        if kind == "ddp":
            ids = [group.device.index] if group.device.type == "cuda" else None
            # Samples may lack modalities, and with them a batch the parameters behind these.
            self._call = DistributedDataParallel(self.objective, device_ids=ids, find_unused_parameters=True)
        elif kind == "fsdp":
            mesh = init_device_mesh(group.device.type, (group.count,))
            for block in blocks:
                for expert in _experts_of(block):
                    fully_shard(expert, mesh=mesh)
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


def released(network: nn.Module) -> dict[str, Tensor]:
    """The whole state of a network on the CPU, put together from shards; empty in all processes but the first.

    Every process must call it.
    """
    found = get_model_state_dict(network, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def _experts_of(block: nn.Module) -> Iterator[nn.Module]:
    """Experts are shards of their own, so that a process holds one at a time beside its part of the others."""
    for part in block.modules():
        if isinstance(part, Experts):
            yield from part.experts
