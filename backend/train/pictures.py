"""Pictures without a plotting library: PNG files, labels, curves. Pictures are H x W x 3 uint8, rows down."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from backend.train import letters

WHITE, BLACK, GREY, PALE = (255, 255, 255), (34, 34, 34), (130, 130, 130), (226, 226, 226)
# Distinguishable also without colour vision (Okabe and Ito 2008), dark enough for white ground.
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (90, 90, 90))
LEFT, TOP, RIGHT, BOTTOM = 76, 16, 190, 52  # margins of a diagram, in pixels
TICKS = 6


def save(path: Path, image: np.ndarray) -> None:
    """Write a picture as PNG (ISO/IEC 15948); the file appears when it is complete.

    Raises:
        ValueError: it is not H x W x 3 uint8.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"a picture is H x W x 3 uint8, not {image.shape} {image.dtype}")
    height, width = image.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, -1)], axis=1)  # filter 0 each
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks))
    part.replace(path)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def canvas(height: int, width: int) -> np.ndarray:
    """A white picture."""
    return np.full((height, width, 3), 255, np.uint8)


def write(image: np.ndarray, row: int, column: int, text: str, colour: Sequence[int] = BLACK, scale: int = 1) -> None:
    """Put a line of text into a picture, its upper left corner at (row, column); what reaches beyond is cut off."""
    dots = letters.dots_of(text, scale)
    top, left = max(0, -row), max(0, -column)
    place = image[max(0, row) : row + dots.shape[0], max(0, column) : column + dots.shape[1]]
    place[dots[top : top + place.shape[0], left : left + place.shape[1]]] = colour


def curves(
    series: Mapping[str, Sequence[tuple[float, float]]],
    across: str,
    up: str,
    size: tuple[int, int] = (480, 900),
) -> np.ndarray:
    """A diagram of curves with axes, ticks and a legend.

    Args:
        series: points (x, y) by name, in rising x; points that are not finite are left out.
        across, up: what the axes say.
        size: height and width in pixels.

    Raises:
        ValueError: there is no finite point.
    """
    drawn = {name: [point for point in points if all(map(math.isfinite, point))] for name, points in series.items()}
    every = [point for points in drawn.values() for point in points]
    if not every:
        raise ValueError("there is no point to draw")
    image = canvas(*size)
    columns, rows = _Axis([x for x, _ in every]), _Axis([y for _, y in every])
    height, width = size[0] - TOP - BOTTOM, size[1] - LEFT - RIGHT
    _frame(image, columns, rows, height, width)
    write(image, size[0] - 18, LEFT + (width - letters.width_of(across)) // 2, across)
    write(image, TOP - 12, LEFT, up)
    for number, (name, points) in enumerate(drawn.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [(TOP + (1 - rows.share(y)) * height, LEFT + columns.share(x) * width) for x, y in points]
        for begin, end in zip(places, places[1:] or places, strict=False):
            _line(image, begin, end, colour)
        top = TOP + number * 14
        image[top + 2 : top + 5, size[1] - RIGHT + 10 : size[1] - RIGHT + 30] = colour
        write(image, top, size[1] - RIGHT + 36, name)
    return image


class _Axis:
    """Values of one direction: where they are, and round numbers to name."""

    def __init__(self, values: Sequence[float]) -> None:
        low, high = min(values), max(values)
        self.step = _round_step((high - low) / TICKS) if high > low else max(abs(low), 1.0)
        self.first = math.floor(low / self.step) * self.step
        self.last = max(math.ceil(high / self.step) * self.step, self.first + self.step)

    def share(self, value: float) -> float:
        """Place of a value between the ends, 0 to 1."""
        return (value - self.first) / (self.last - self.first)

    def ticks(self) -> Iterator[float]:
        """Round numbers from end to end."""
        for number in range(round((self.last - self.first) / self.step) + 1):
            yield self.first + number * self.step


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20 … that is at least as large."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least * (1 - 1e-9))


def _frame(image: np.ndarray, columns: _Axis, rows: _Axis, height: int, width: int) -> None:
    for value in rows.ticks():
        row, label = TOP + round((1 - rows.share(value)) * height), f"{value:.4g}"
        image[row, LEFT : LEFT + width] = PALE
        write(image, row - 3, LEFT - 8 - letters.width_of(label), label, GREY)
    for value in columns.ticks():
        column, label = LEFT + round(columns.share(value) * width), f"{value:.6g}"
        image[TOP + height : TOP + height + 5, column] = BLACK
        write(image, TOP + height + 9, column - letters.width_of(label) // 2, label, GREY)
    image[TOP + height, LEFT : LEFT + width + 1] = BLACK
    image[TOP : TOP + height, LEFT] = BLACK


def _line(image: np.ndarray, begin: tuple[float, float], end: tuple[float, float], colour: Sequence[int]) -> None:
    """A line two pixels wide between two (row, column)."""
    count = int(max(abs(end[0] - begin[0]), abs(end[1] - begin[1]))) + 2
    rows = np.linspace(begin[0], end[0], count).round().astype(int)
    columns = np.linspace(begin[1], end[1], count).round().astype(int)
    for down in (0, 1):
        image[np.clip(rows + down, 0, image.shape[0] - 1), np.clip(columns, 0, image.shape[1] - 1)] = colour
