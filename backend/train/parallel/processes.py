"""Who takes part in a run: one process, or those that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Processes:
    """The processes of a run.

    Attributes:
        rank: number of this one.
        count: how many there are.
        device: what this one computes on.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes, in every one of them."""
        return self._reduced(values.clone()) / self.count

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in every one of them."""
        return self._reduced(values.clone())

    def every(self, condition: bool) -> bool:
        """Whether a condition holds in all processes."""
        return bool(self.sum(torch.tensor(float(condition), device=self.device)) == self.count)

    def names(self, own: Iterable[str]) -> list[str]:
        """The names of all processes, sorted, in every one of them."""
        found: list[list[str]] = [sorted(own)]
        if self.count > 1:
            found = [[] for _ in range(self.count)]
            distributed.all_gather_object(found, sorted(own))
        return sorted({name for some in found for name in some})

    def wait(self) -> None:
        """Go on when all processes are here."""
        if self.count > 1:
            distributed.barrier()

    def _reduced(self, values: Tensor) -> Tensor:
        if self.count > 1:
            distributed.all_reduce(values)
        return values


@contextmanager
def processes(device: str = "auto") -> Iterator[Processes]:
    """The processes that torchrun named in the environment, else this one alone.

    Args:
        device: "auto" for a graphics processor where there is one, "cpu" or "cuda".
    """
    kind = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if "RANK" not in os.environ:
        yield Processes(0, 1, torch.device(kind))
        return
    place = torch.device(kind, int(os.environ["LOCAL_RANK"])) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(place)
    distributed.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), place)
    finally:
        distributed.destroy_process_group()
