"""Batches of crops from a folder of shards; see `backend.train.data.source.Source`."""

from __future__ import annotations

from backend.protocol.errors import ParameterError
from backend.train.data.crops import CropConfig, views_of
from backend.train.data.shards import ShardSet
from backend.train.data.source import order_of, part_of
from backend.train.data.views import ViewBatch


class ShardViews:
    """Crops for SkySense V2.

    Args:
        shards: the samples.
        batch: samples of a global batch.
        config: of the crops.
        seed: of order and crops.

    Raises:
        ParameterError: there are fewer samples than a batch holds.
    """

    def __init__(self, shards: ShardSet, batch: int, config: CropConfig | None = None, seed: int = 42) -> None:
        if len(shards) < batch:
            raise ParameterError(
                f"{len(shards)} samples are fewer than the {batch} of a batch", "", "take a smaller batch"
            )
        self._shards, self._batch, self._config, self._seed = shards, batch, config or CropConfig(), seed

    def batch(self, step: int, part: int, parts: int) -> ViewBatch:
        """Part of the global batch of a step."""
        numbers = part_of(order_of(len(self._shards), self._batch, step, self._seed), part, parts)
        return views_of([self._shards[int(number)] for number in numbers], self._config, self._seed, step)
