"""Finished chunks on disk: written once, never touched again, listed by a VRT that viewers can open at any time.

A run's folder, `OUT.tif.parts`, holds

    run.json                    what is being computed (see `backend.scene.run`)
    <run>/<layer>/r…-c….tif     one file per chunk and layer, under the run's own identifier, so that a viewer that
                                remembers an earlier run's file never mistakes it for this one's
    <run>/carry/r…-c….npy       blended sums that a chunk hands to its right neighbour
    <layer>.vrt                 the chunks finished so far, for viewers, who may write into it what GDAL wants to keep
    <run>/<layer>.vrt           the same for the final file, which takes nothing from viewers
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from backend.geo.grid import Window
from backend.geo.writer import ChunkRef, RasterProfile, write_atomically, write_chunk, write_vrt
from backend.protocol.errors import OutputError
from backend.scene.plan import Chunk, Plan

# A viewer redraws at most twice a second; listing chunks more often than that is work for nobody. Thousands of chunks
# times bands take long to list: then less often, so that at most a twentieth of the run's time goes into it.
PUBLISH_SECONDS = 0.5
PUBLISH_PAUSES = 20


class ChunkStore:
    """The chunks of one run.

    Args:
        folder: the run's folder, which exists.
        run_id: the run's identifier.
        plan: the cut of the scene.
        layers: what is written, by layer name (which may hold "/"); a chunk is finished when its last layer is.
    """

    def __init__(self, folder: Path, run_id: str, plan: Plan, layers: Mapping[str, RasterProfile]) -> None:
        self._folder, self._root, self._plan, self._layers = folder, folder / run_id, plan, dict(layers)
        for layer in layers:
            self._make(self._root / layer)
        self._make(self._root / "carry")
        self._todo, self._done = self._look()
        self._publish_after = 0.0

    @property
    def todo(self) -> tuple[Chunk, ...]:
        """Chunks that were not finished when the store was opened, in working order."""
        return tuple(self._todo)

    @property
    def done(self) -> tuple[Chunk, ...]:
        """Finished chunks."""
        return tuple(self._done)

    def vrt(self, layer: str) -> Path:
        """The file that lists a layer's finished chunks for viewers."""
        return self._folder / (layer.replace("/", "-") + ".vrt")

    def whole(self, layer: str) -> Path:
        """A raster of all finished chunks of a layer, listed now, which nobody else opens."""
        path = self._root / (layer.replace("/", "-") + ".vrt")
        self._list(layer, path, growing=False)
        return path

    def write(self, chunk: Chunk, arrays: Mapping[str, np.ndarray], carry: Sequence[np.ndarray]) -> None:
        """Store a finished chunk.

        Args:
            chunk: the chunk.
            arrays: per layer (bands, H, W).
            carry: per head (channels, H, columns) float32, what reaches into the next swath; empty for none.

        Raises:
            OutputError: when the disk is full or the folder not writable; the chunk then does not count as finished.
        """
        for head, sums in enumerate(carry):
            _write_array(self._carry_path(chunk, head), sums)
        grid = self._plan.scene.crop(chunk.window)
        for layer, profile in self._layers.items():
            write_chunk(str(self._path(layer, chunk)), arrays[layer], grid, profile)
        self._done.append(chunk)

    def carry_into(self, chunk: Chunk, heads: int) -> list[np.ndarray | None]:
        """What the left neighbour handed over, per head; None where it handed over nothing."""
        if chunk.swath == 0:
            return [None] * heads
        left = self._plan.chunk(self._plan.swaths[chunk.swath - 1], chunk.strips)
        paths = [self._carry_path(left, head) for head in range(heads)]
        return [np.load(path, allow_pickle=False) if path.exists() else None for path in paths]

    def drop_carry_into(self, chunk: Chunk, heads: int) -> None:
        """Forget what the left neighbour handed over, once the chunk is finished."""
        if chunk.swath == 0:
            return
        left = self._plan.chunk(self._plan.swaths[chunk.swath - 1], chunk.strips)
        for head in range(heads):
            self._carry_path(left, head).unlink(missing_ok=True)

    def publish(self, force: bool = False) -> bool:
        """List the finished chunks in the layers' VRT files; skipped when it was done a moment ago."""
        begun = time.monotonic()
        if not force and begun < self._publish_after:
            return False
        for layer in self._layers:
            self._list(layer, self.vrt(layer), growing=True)
        ended = time.monotonic()
        self._publish_after = ended + max(PUBLISH_SECONDS, PUBLISH_PAUSES * (ended - begun))
        return True

    def _list(self, layer: str, path: Path, growing: bool) -> None:
        area = self._plan.area
        chunks = [ChunkRef(str(self._path(layer, c)), c.window.moved(-area.col, -area.row)) for c in self._done]
        write_vrt(path, self._plan.output_grid, self._layers[layer], chunks, growing)

    def _look(self) -> tuple[list[Chunk], list[Chunk]]:
        todo: list[Chunk] = []
        done: list[Chunk] = []
        last_layer = list(self._layers)[-1]
        for chunk in self._plan.chunks():
            (done if self._path(last_layer, chunk).exists() else todo).append(chunk)
        return todo, done

    def _path(self, layer: str, chunk: Chunk) -> Path:
        return self._root / layer / f"{_place(chunk.window)}.tif"

    def _carry_path(self, chunk: Chunk, head: int) -> Path:
        return self._root / "carry" / f"{_place(chunk.window)}-{head}.npy"

    @staticmethod
    def _make(folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f'the folder "{folder.parent}" cannot be written',
                error.strerror or str(error),
                "choose another place for the output",
            ) from error


def _place(window: Window) -> str:
    return f"r{window.row:07d}-c{window.col:07d}"


def _write_array(path: Path, array: np.ndarray) -> None:
    # Flushed to the disk like the chunk: without what it handed over, a finished chunk is worth nothing.
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    write_atomically(path, content.getbuffer())
