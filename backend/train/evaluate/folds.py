"""Which labelled samples are learned from and which are tested on: folds that keep places together, few-shot draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backend.train.data.source import random_of

FOLDS = 5


def grouped_folds(labels: np.ndarray, groups: Sequence[str], seed: int, folds: int = FOLDS) -> np.ndarray:
    """The fold of each sample: places stay together, classes are spread as evenly as places allow.

    Places are taken in random order, those with many samples first; each goes to the fold that has fewest samples of
    its classes, then fewest samples, then to a random one.

    Args:
        labels: N, integers from 0.
        groups: N, the places.
        seed: of the order.
        folds: how many.

    Returns:
        N integers below `folds`.

    Raises:
        ValueError: there are fewer places than folds.
    """
    names, numbers = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < folds:
        raise ValueError(f"{len(names)} places cannot make {folds} folds")
    generator = random_of(seed, "folds")
    table = np.zeros((len(names), int(labels.max()) + 1), int)
    np.add.at(table, (numbers, labels), 1)
    order = generator.permutation(len(names))
    order = order[np.argsort(-table[order].sum(axis=1), kind="stable")]
    filled = np.zeros((folds, table.shape[1]), int)
    chosen = np.zeros(len(names), int)
    for name in order:
        same, all_ = filled @ table[name], filled.sum(axis=1)
        best = np.lexsort((generator.permutation(folds), all_, same))[0]
        chosen[name] = best
        filled[best] += table[name]
    return chosen[numbers]


def few_shot(labels: np.ndarray, shots: int, seed: int) -> np.ndarray:
    """Numbers of `shots` samples of each class, of a class with fewer all of them; rising."""
    generator = random_of(seed, "shots", shots)
    chosen = [generator.permutation(np.flatnonzero(labels == label))[:shots] for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen))
