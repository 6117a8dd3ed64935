"""Batches that are read while the network computes, in this process or by others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from backend.train.data.source import Source

# Steps that each reading process keeps ready.
READY = 2


class Parts(Dataset[list[Any]]):
    """By step the parts of a global batch that one process trains on.

    Args:
        source: batches.
        own: numbers of the parts.
        parts: how many there are over all processes.
    """

    def __init__(self, source: Source, own: Sequence[int], parts: int) -> None:
        self._source, self._own, self._parts = source, own, parts

    def __getitem__(self, step: int) -> list[Any]:
        """The parts of a step."""
        return [self._source.batch(step, part, self._parts) for part in self._own]


def read_ahead(parts: Parts, steps: range, workers: int, pinned: bool) -> Iterator[list[Any]]:
    """The parts of every step in order; what they hold does not depend on who reads them.

    Args:
        parts: by step.
        steps: which.
        workers: reading processes; 0 to read one step ahead in a thread of this process.
        pinned: whether tensors are in page-locked memory, from where a graphics processor copies by itself.
    """
    if workers:
        # A fresh process per worker: one that is forked may inherit locks of threads that it does not have.
        yield from DataLoader(
            parts, batch_size=None, sampler=steps, num_workers=workers, prefetch_factor=READY, pin_memory=pinned,
            multiprocessing_context="spawn",
        )  # fmt: skip
        return
    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(parts.__getitem__, steps.start) if steps else None
        for step in steps:
            assert waiting is not None
            found = waiting.result()
            waiting = reader.submit(parts.__getitem__, step + 1) if step + 1 < steps.stop else None
            yield found


def moved(value: Any, device: torch.device) -> Any:
    """Tensors of a batch on a device, in whatever tuples, lists and dictionaries."""
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(moved(part, device) for part in value))
    if isinstance(value, (list, tuple)):
        return type(value)(moved(part, device) for part in value)
    return {key: moved(part, device) for key, part in value.items()} if isinstance(value, dict) else value
