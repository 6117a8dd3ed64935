"""Two encoders on the same labelled pictures under the same protocols: which one's frozen features say more.

Folds: only pictures that no pre-training saw, repeated folds that keep places together. Fixed: learned from the
pictures of the training split, tested on those of the test split, as the kit's floors are. Probes are fitted for every
seed; what is resampled for the intervals are the places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backend.tasks.intervals import Score, grouped_mean, paired_difference
from backend.tasks.probe import Probe, fit_logistic, fit_neighbours
from backend.train.evaluate.folds import FOLDS, few_shot, grouped_folds
from backend.train.evaluate.labelled import Scenes

Fit = Callable[[np.ndarray, np.ndarray, int], Probe]
PROBES: Mapping[str, Fit] = {"kNN": fit_neighbours, "linear": fit_logistic}
SHOTS = (1, 2, 5)


@dataclass(frozen=True)
class Compared:
    """One protocol with one probe.

    Attributes:
        task, protocol, probe: which.
        samples: pictures tested on.
        places: places among them.
        scores: accuracy by encoder.
        difference: accuracy of the first less that of the second, on the same pictures.
    """

    task: str
    protocol: str
    probe: str
    samples: int
    places: int
    scores: Mapping[str, Score]
    difference: Score


def compared(scenes: Scenes, features: Mapping[str, np.ndarray], seeds: Sequence[int]) -> list[Compared]:
    """Every protocol with every probe.

    Args:
        scenes: the pictures.
        features: N x D by encoder; the first is compared with the second.
        seeds: of the folds; results are means over them.
    """
    rows = []
    for name, fit in PROBES.items():
        folds = {key: _in_folds(scenes, values, fit, seeds) for key, values in features.items()}
        fixed = {key: _fixed(scenes, values, fit) for key, values in features.items()}
        rows.append(_row(scenes, f"{FOLDS} folds, unseen pictures", name, folds))
        rows.append(_row(scenes, "fixed split", name, fixed))
        for shots in SHOTS:
            few = {key: _few(scenes, values, fit, shots, seeds) for key, values in features.items()}
            rows.append(_row(scenes, f"fixed split, {shots} per class", name, few))
    return rows


def predictions(scenes: Scenes, features: np.ndarray, fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions of the fixed split's test pictures."""
    train = scenes.train
    probe = fit(features[train], scenes.labels[train], len(scenes.classes))
    return scenes.labels[~train], probe.probabilities(features[~train]).argmax(axis=1)


def _row(scenes: Scenes, protocol: str, probe: str, right: Mapping[str, np.ndarray]) -> Compared:
    """`right`: share of the seeds that got each unseen picture right, by encoder."""
    groups = [group for group, train in zip(scenes.groups, scenes.train, strict=True) if not train]
    first, second = list(right.values())[:2]
    scores = {name: grouped_mean(values, groups) for name, values in right.items()}
    difference = paired_difference(first, second, groups)
    return Compared(scenes.task, protocol, probe, len(groups), len(set(groups)), scores, difference)


def _in_folds(scenes: Scenes, features: np.ndarray, fit: Fit, seeds: Sequence[int]) -> np.ndarray:
    unseen = ~scenes.train
    inputs, labels = features[unseen], scenes.labels[unseen]
    groups = [group for group, keep in zip(scenes.groups, unseen, strict=True) if keep]
    right = np.zeros((len(seeds), len(labels)))
    for row, seed in enumerate(seeds):
        folds = grouped_folds(labels, groups, seed)
        for fold in range(FOLDS):
            here = folds == fold
            if here.any():
                probe = fit(inputs[~here], labels[~here], len(scenes.classes))
                right[row, here] = probe.probabilities(inputs[here]).argmax(axis=1) == labels[here]
    return np.asarray(right.mean(axis=0))


def _fixed(scenes: Scenes, features: np.ndarray, fit: Fit) -> np.ndarray:
    labels, found = predictions(scenes, features, fit)
    return np.asarray((labels == found).astype(float))


def _few(scenes: Scenes, features: np.ndarray, fit: Fit, shots: int, seeds: Sequence[int]) -> np.ndarray:
    inputs, labels = features[scenes.train], scenes.labels[scenes.train]
    right = []
    for seed in seeds:
        drawn = few_shot(labels, shots, seed)
        probe = fit(inputs[drawn], labels[drawn], len(scenes.classes))
        found = probe.probabilities(features[~scenes.train]).argmax(axis=1)
        right.append(found == scenes.labels[~scenes.train])
    return np.asarray(np.mean(right, axis=0))
