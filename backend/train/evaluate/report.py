"""Reports of evaluations: Markdown tables, and confusion matrices as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from backend.geo.writer import write_atomically
from backend.train import letters, pictures

CELL, MARGIN = 56, 10


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |\n" for line in lines)


def write(path: Path, text: str) -> None:
    """Write a report; it appears when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())


def confusion(labels: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    """How often each class (rows) was taken for each (columns): classes x classes."""
    return np.bincount(labels * classes + found, minlength=classes**2).reshape(classes, classes)


def confusion_picture(counts: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """A confusion matrix as a picture H x W x 3 uint8: rows are the truth, shades the share of the row."""
    left = max(letters.width_of(name) for name in names) + 2 * MARGIN
    top = 3 * MARGIN + 12
    size = len(names) * CELL
    image = pictures.canvas(top + size + 2 * MARGIN, left + max(size, letters.width_of("found")) + 2 * MARGIN)
    pictures.write(image, MARGIN, left, "found, in the order of the rows")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for row, name in enumerate(names):
        middle = top + row * CELL + CELL // 2 - 4
        pictures.write(image, middle, MARGIN, name)
        for column in range(len(names)):
            corner = (top + row * CELL, left + column * CELL)
            _fill(image, corner, float(shares[row, column]))
            text = str(counts[row, column])
            dark = shares[row, column] > 0.5
            pictures.write(
                image,
                middle,
                corner[1] + (CELL - letters.width_of(text)) // 2,
                text,
                pictures.WHITE if dark else pictures.BLACK,
            )
    return image


def _fill(image: np.ndarray, corner: tuple[int, int], share: float) -> None:
    """A cell between white and the first colour."""
    colour = np.array(pictures.COLOURS[0]) * share + 255 * (1 - share)
    image[corner[0] + 1 : corner[0] + CELL, corner[1] + 1 : corner[1] + CELL] = colour.astype(np.uint8)
