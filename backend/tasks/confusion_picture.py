"""A confusion matrix as a picture: SVG, which every browser and QGIS layout shows."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

_CELL, _LEFT, _TOP, _FONT = 46, 150, 130, 12


def confusion_svg(counts: np.ndarray, names: Sequence[str], rows: str, columns: str) -> str:
    """The picture.

    Args:
        counts: K x K.
        names: of the classes.
        rows, columns: what they stand for.
    """
    side = len(names)
    width, height = _LEFT + side * _CELL + 20, _TOP + side * _CELL + 20
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        f'font-size="{_FONT}">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="{_TOP - 10}" fill="#555555">{escape(rows)} ↓</text>',
        f'<text x="{_LEFT}" y="18" fill="#555555">{escape(columns)} →</text>',
    ]
    for number, name in enumerate(names):
        middle = _CELL // 2 + number * _CELL
        parts.append(
            f'<text x="{_LEFT - 8}" y="{_TOP + middle + 4}" text-anchor="end">{escape(_short(name))}</text>'
            f'<text transform="translate({_LEFT + middle + 4},{_TOP - 8}) rotate(-60)">{escape(_short(name))}</text>'
        )
    for row in range(side):
        for column in range(side):
            share = float(shares[row, column])
            tint = "#{:02x}{:02x}{:02x}".format(*_tint(share, row == column))
            x, y = _LEFT + column * _CELL, _TOP + row * _CELL
            ink = "#ffffff" if share > 0.6 else "#222222"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{_CELL - 1}" height="{_CELL - 1}" fill="{tint}"/>'
                f'<text x="{x + _CELL / 2 - 0.5}" y="{y + _CELL / 2 + 4}" text-anchor="middle" fill="{ink}">'
                f"{counts[row, column]:g}</text>"
            )
    return "\n".join([*parts, "</svg>", ""])


def _short(name: str) -> str:
    return name if len(name) <= 20 else f"{name[:19]}…"


def _tint(share: float, right: bool) -> tuple[int, int, int]:
    """From nearly white to blue where it is right, to red where it is wrong."""
    full = (33, 102, 172) if right else (178, 24, 43)
    return tuple(round(245 + (value - 245) * share) for value in full)  # type: ignore[return-value]
