"""How good a probe is at places that it did not see: cross-validation by label and by block of ground."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from backend.tasks.intervals import Score, grouped_mean
from backend.tasks.probe import Probe
from backend.tasks.samples import Samples

FOLDS, BLOCKS = 5, 6  # blocks along each side of what the labels span
FEW_LABELS = 5  # of a class; fewer say little
Fit = Callable[[np.ndarray, np.ndarray], Probe]


@dataclass(frozen=True)
class Validation:
    """What a probe says of labels that it was not fitted on.

    Attributes:
        accuracy: share of a label's positions that are right, mean of the labels, with its interval over labels.
        confusion: classes x classes, share of the positions of each label summed: truth by row.
        precision, recall, f1: per class; NaN where nothing can be said.
        folds: how many there were.
    """

    accuracy: Score
    confusion: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    folds: int

    def to_dict(self) -> dict[str, object]:
        """JSON values."""
        return {
            "accuracy": self.accuracy.to_dict(),
            "macro_f1": _number(np.nanmean(self.f1)) if np.isfinite(self.f1).any() else None,
            "f1": [_number(value) for value in self.f1],
            "precision": [_number(value) for value in self.precision],
            "recall": [_number(value) for value in self.recall],
            "confusion": np.round(self.confusion, 2).tolist(),
            "folds": self.folds,
        }


def validated(samples: Samples, folds: np.ndarray, fit: Fit) -> Validation | None:
    """Cross-validation.

    Args:
        samples: what there is.
        folds: N, the fold of each sample; all samples of a label in one.
        fit: makes a probe of features and classes.

    Returns:
        what came of it; None where there are not two folds, each of which leaves two classes to learn from.
    """
    numbers = np.unique(folds)
    if len(numbers) < 2:
        return None
    found = np.full(len(folds), -1)
    for fold in numbers:
        here = folds == fold
        if len(np.unique(samples.classes[~here])) < 2:
            return None
        probe = fit(samples.features[~here], samples.classes[~here])
        found[here] = probe.probabilities(samples.features[here]).argmax(axis=1)
    _, owners, sizes = np.unique(samples.owners, return_inverse=True, return_counts=True)
    weights = 1.0 / sizes[owners]
    count = len(samples.names)
    confusion = np.zeros((count, count))
    np.add.at(confusion, (samples.classes, found), weights)
    right = np.bincount(owners, weights * (found == samples.classes))
    score = grouped_mean(right, [str(number) for number in range(len(right))])
    hits = np.diag(confusion)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = hits / confusion.sum(axis=0), hits / confusion.sum(axis=1)
        f1 = 2 * hits / (confusion.sum(axis=0) + confusion.sum(axis=1))
    return Validation(score, confusion, precision, recall, f1, len(numbers))


def folds_of_labels(samples: Samples, seed: int = 0) -> np.ndarray:
    """N: labels are dealt to the folds class by class."""
    random = np.random.default_rng(seed)
    fold_of = {}
    dealt = 0
    for number in range(len(samples.names)):
        for owner in random.permutation(np.unique(samples.owners[samples.classes == number])):
            fold_of[owner] = dealt % FOLDS
            dealt += 1
    return np.array([fold_of[owner] for owner in samples.owners])


def folds_of_blocks(samples: Samples, seed: int = 0) -> np.ndarray:
    """N: blocks of ground are dealt to the folds, each label with the block that its middle lies in."""
    random = np.random.default_rng(seed)
    low = samples.places.min(axis=0)
    side = np.maximum((samples.places.max(axis=0) - low + 1) / BLOCKS, 1)
    owners, numbers = np.unique(samples.owners, return_inverse=True)
    middles = np.stack([np.bincount(numbers, samples.places[:, axis]) / np.bincount(numbers) for axis in (0, 1)], 1)
    cells = np.minimum((middles - low) // side, BLOCKS - 1).astype(int)
    _, blocks = np.unique(cells[:, 0] * BLOCKS + cells[:, 1], return_inverse=True)
    order = random.permutation(blocks.max() + 1)
    assert len(owners) == len(blocks)
    return np.asarray(order[blocks] % FOLDS)[numbers]


def warnings_on(samples: Samples, by_label: Validation | None, by_block: Validation | None) -> list[str]:
    """What makes the labels weak evidence."""
    found = []
    few = [f"{name} ({count})" for name, count in zip(samples.names, samples.counts, strict=True) if count < FEW_LABELS]
    if few:
        found.append(f"few labels of {', '.join(few)}: at least {FEW_LABELS} of each class are needed for a judgement")
    if samples.lost:
        found.append(f"{samples.lost} labels lie where the scene has no data, and do not count")
    if by_block is None or len(np.unique(folds_of_blocks(samples))) < FOLDS:
        found.append("the labels lie close together: how the model does elsewhere cannot be told from them")
    elif by_label is not None and by_label.accuracy.value - by_block.accuracy.value > 0.1:
        found.append("it does worse on ground that has no label near by: label more places")
    return found


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
