"""How much memory a run needs, and how wide its swaths may be for it."""

from __future__ import annotations

from dataclasses import dataclass

from backend.scene.plan import CHUNK_ROWS

# Resident memory of the process with its libraries and GDAL's block cache (128 MB), measured on Linux with the light
# environment: 340 MB.
BASE_BYTES = 340_000_000
FLOAT_BYTES = 4
# Copies of a strip that are alive at once: being read, waiting, being scored, and the tail that the next one keeps.
STRIP_COPIES = 4
# A chunk of an embedding with many numbers per position is lower, so that it stays below this.
CHUNK_BYTES = 64_000_000
# Its rows as they come in, joined, and as a file in memory.
CHUNK_COPIES = 3


@dataclass(frozen=True)
class MemoryModel:
    """What decides the memory of a run.

    Attributes:
        bands: input bands over all inputs and dates.
        channels: score channels over all heads.
        window: side of a window in pixels.
        batch: windows per call.
        model_bytes: weights and activations of the model.
        result_bytes: bytes that are written per pixel.
    """

    bands: int
    channels: int
    window: int
    batch: int
    model_bytes: int = 0
    result_bytes: int = 0

    def chunk_rows(self, swath_width: int) -> int:
        """Rows that a chunk aims at, in swaths of this width."""
        return max(1, min(CHUNK_ROWS, CHUNK_BYTES // max(1, swath_width * self.result_bytes)))

    def bytes_for(self, swath_width: int) -> int:
        """Estimated peak resident memory with swaths of this width."""
        strip = self.window * swath_width * FLOAT_BYTES
        windows = self.batch * self.window**2 * FLOAT_BYTES
        blending = 3 * strip * self.channels
        waiting = 4 * windows * self.channels
        chunk = max(self.window, self.chunk_rows(swath_width)) * swath_width * self.result_bytes
        return (
            BASE_BYTES
            + self.model_bytes
            + STRIP_COPIES * strip * self.bands
            + 2 * windows * self.bands
            + blending
            + waiting
            + CHUNK_COPIES * chunk
        )

    def swath_width(self, budget: int, widest: int) -> int:
        """The widest swath, from `widest` downwards by halves, whose estimate keeps the budget; at least one window."""
        width = max(widest, self.window)
        while width > self.window and self.bytes_for(width) > budget:
            width = max(self.window, width // 2)
        return width
