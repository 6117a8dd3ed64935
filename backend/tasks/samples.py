"""Features at labelled places: what a probe learns from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from backend.geo.grid import Grid
from backend.geo.labels import Labels
from backend.protocol.errors import ParameterError

# Of each label, drawn at random: a large polygon must not win over many small ones.
MOST_PER_LABEL = 64
LEAST_CLASSES = 2


@dataclass(frozen=True)
class Samples:
    """N labelled positions.

    Attributes:
        features: N x D float64.
        classes: N, positions in `names`.
        owners: N, number of the label that each belongs to.
        places: N x 2, row and column on the map.
        names: of the classes that occur.
        lost: labels without any position that has data.
    """

    features: np.ndarray
    classes: np.ndarray
    owners: np.ndarray
    places: np.ndarray
    names: tuple[str, ...]
    lost: int

    @property
    def counts(self) -> np.ndarray:
        """Labels of each class."""
        return np.array([len(np.unique(self.owners[self.classes == number])) for number in range(len(self.names))])


def read_samples(path: Path, labels: Labels, check: Callable[[], None], seed: int = 0) -> Samples:
    """The features of a raster (bands x H x W, NaN where there is no data) at the labels.

    Args:
        path: the raster.
        labels: places with classes.
        check: called between labels; may raise.
        seed: of what is drawn where a label has more than `MOST_PER_LABEL` positions.

    Raises:
        ParameterError: fewer than two classes have data.
    """
    random = np.random.default_rng(seed)
    features, owners, places = [], [], []
    with rasterio.open(path) as dataset:
        grid = Grid(dataset.crs, dataset.transform, dataset.width, dataset.height)
        for number, rows, cols in labels.pixels(grid):
            check()
            found, at = _valid(dataset, rows, cols)
            chosen = random.permutation(len(found))[:MOST_PER_LABEL]
            features.append(found[chosen])
            places.append(at[chosen])
            owners.append(np.full(len(chosen), number))
    kept = np.concatenate(owners) if owners else np.empty(0, int)
    names = tuple(sorted({labels.names[number] for number in kept}))
    if len(names) < LEAST_CLASSES:
        raise ParameterError(
            f"there is data at the labels of {len(names)} class{'es' * (len(names) != 1)}",
            f'"{labels.path}" has {", ".join(labels.classes)}',
            "label two classes at least, where the scene has data",
        )
    return Samples(
        np.concatenate(features).astype(np.float64),
        np.array([names.index(labels.names[number]) for number in kept]),
        kept,
        np.concatenate(places),
        names,
        sum(len(part) == 0 for part in owners),
    )


def _valid(dataset: rasterio.DatasetReader, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features n x D of those pixels that have data, and their places n x 2."""
    if not len(rows):
        return np.empty((0, dataset.count)), np.empty((0, 2), int)
    top, left = rows.min(), cols.min()
    window = Window(left, top, cols.max() - left + 1, rows.max() - top + 1)
    values = dataset.read(window=window)[:, rows - top, cols - left].T
    there = ~np.isnan(values).any(axis=1)
    return values[there], np.stack([rows, cols], axis=1)[there]
