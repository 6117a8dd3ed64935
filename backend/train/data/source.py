"""Where batches come from: their order is a pure function of seed and step, whoever asks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class Source(Protocol):
    """Batches of a data set.

    What a global batch holds depends on its step alone. It is cut into equal parts: `part` of `parts`, one for every
    process and accumulation step, in the order process by process.
    """

    def batch(self, step: int, part: int, parts: int) -> Any:
        """Part of the global batch of a step."""
        ...


def order_of(count: int, batch: int, step: int, seed: int) -> np.ndarray:
    """Which samples a global batch holds: epoch after epoch every sample once, each epoch in an order of its own.

    Args:
        count: samples of the data set.
        batch: samples of a global batch.
        step: number of the batch, from 0.
        seed: of the order.

    Returns:
        batch int64; a batch may reach over the end of an epoch.
    """
    places = np.arange(step * batch, (step + 1) * batch, dtype=np.int64)
    found = np.empty(batch, np.int64)
    for epoch in np.unique(places // count):
        inside = places // count == epoch
        found[inside] = random_of(seed, "order", int(epoch)).permutation(count)[places[inside] % count]
    return found


def part_of(samples: Sequence[int] | np.ndarray, part: int, parts: int) -> np.ndarray:
    """One of equal parts of a global batch.

    Raises:
        ValueError: the batch cannot be cut like that.
    """
    if len(samples) % parts:
        raise ValueError(f"a batch of {len(samples)} cannot be cut into {parts} equal parts")
    size = len(samples) // parts
    return np.asarray(samples[part * size : (part + 1) * size])


def random_of(*what: object) -> np.random.Generator:
    """Random numbers that depend on what is named alone, such as a seed, a step and a sample's key."""
    digest = hashlib.sha256("|".join(map(str, what)).encode()).digest()
    return np.random.Generator(np.random.Philox(int.from_bytes(digest[:16], "little")))
