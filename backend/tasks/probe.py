"""What frozen features say by themselves: probes in NumPy, for the evaluation of encoders and for labels drawn in QGIS.

Every probe is fitted on features N x D with labels N, integers from 0, and gives a probability per class of others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

# Votes of nearest neighbours weigh exp(cosine / temperature) (smarties.md, 8.1; skysense-v2.md, 11.1).
NEIGHBOURS, TEMPERATURE = 20, 0.07
MEMORY, MOST_STEPS, GRADIENT = 10, 200, 1e-5  # of L-BFGS
ARMIJO, SHORTEST = 1e-4, 1e-10
STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
Loss = Callable[[np.ndarray], tuple[float, np.ndarray]]


class Probe(Protocol):
    """A fitted probe."""

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """N x D -> N x classes, rows of sum 1."""


@dataclass(frozen=True)
class LogisticProbe:
    """Multinomial logistic regression on standardised features.

    Attributes:
        mean, scale: D, of the features it was fitted on.
        weights: D x classes.
        bias: classes.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """N x D -> N x classes."""
        found: np.ndarray = (features - self.mean) / self.scale @ self.weights + self.bias
        return found

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """N x D -> N x classes, rows of sum 1."""
        return _softmax(self.logits(features))


@dataclass(frozen=True)
class NeighbourProbe:
    """Weighted votes of the most similar labelled features (smarties.md, 8.1).

    Attributes:
        samples: N x D, of unit length.
        votes: N x classes, one 1 in each row.
        neighbours: how many vote.
    """

    samples: np.ndarray
    votes: np.ndarray
    neighbours: int

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """N x D -> share of the votes, N x classes."""
        cosines = _unit(features) @ self.samples.T
        least = -np.sort(-cosines, axis=1)[:, min(self.neighbours, len(self.samples)) - 1 :][:, :1]
        weights = np.where(cosines >= least, np.exp((cosines - 1) / TEMPERATURE), 0)
        voted = weights @ self.votes
        found: np.ndarray = voted / voted.sum(axis=1, keepdims=True)
        return found


@dataclass(frozen=True)
class PrototypeProbe:
    """Cosine to the mean direction of each class.

    Attributes:
        prototypes: classes x D, of unit length; zeros for a class of which nothing was seen.
    """

    prototypes: np.ndarray

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """N x D -> N x classes; a class of which nothing was seen has none."""
        cosines = _unit(features) @ self.prototypes.T
        return _softmax(np.where(self.prototypes.any(axis=1), cosines / TEMPERATURE, -np.inf))


def fit_logistic(
    features: np.ndarray, labels: np.ndarray, classes: int, strength: float = 1.0, balanced: bool = True
) -> LogisticProbe:
    """Fit a `LogisticProbe`.

    Minimises strength * sum of w_i * cross-entropy + half the squared norm of the weights (not of the bias) with L-BFGS
    (Liu and Nocedal 1989).

    Args:
        features: N x D.
        labels: N.
        classes: how many there are.
        strength: of the data against the penalty.
        balanced: whether every class that occurs weighs alike, the sum of the weights being N.
    """
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    inputs = np.asarray((features - mean) / scale, dtype=float)
    truth = np.eye(classes)[labels]
    counts = truth.sum(axis=0)
    each = len(labels) / (np.count_nonzero(counts) * counts[labels]) if balanced else np.ones(len(labels))
    width = inputs.shape[1]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = flat[: width * classes].reshape(width, classes), flat[width * classes :]
        logits = inputs @ weights + bias
        top = logits.max(axis=1, keepdims=True)
        logarithms = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
        away = strength * each[:, None] * (np.exp(logarithms) - truth)
        value = -strength * float((each[:, None] * truth * logarithms).sum()) + 0.5 * float((weights**2).sum())
        return value, np.concatenate([(inputs.T @ away + weights).ravel(), away.sum(axis=0)])

    found = minimised(loss, np.zeros(width * classes + classes))
    weights, bias = found[: width * classes].reshape(width, classes), found[width * classes :]
    return LogisticProbe(mean, scale, weights, np.where(counts > 0, bias, -np.inf))


def fit_neighbours(
    features: np.ndarray, labels: np.ndarray, classes: int, neighbours: int = NEIGHBOURS
) -> NeighbourProbe:
    """Remember labelled features."""
    return NeighbourProbe(_unit(features), np.eye(classes)[labels], neighbours)


def fit_prototypes(features: np.ndarray, labels: np.ndarray, classes: int) -> PrototypeProbe:
    """Mean directions of the classes."""
    return PrototypeProbe(_unit(np.eye(classes)[labels].T @ _unit(features)))


def chosen_strength(
    features: np.ndarray, labels: np.ndarray, classes: int, folds: np.ndarray, strengths: Sequence[float] = STRENGTHS
) -> float:
    """The strength of `fit_logistic` with the best accuracy on folds; the weakest of those that are equally good.

    Args:
        folds: N, the fold of each sample; samples of one place belong into one fold.
    """
    scores = []
    for strength in strengths:
        right = np.zeros(len(labels), bool)
        for fold in np.unique(folds):
            here = folds == fold
            probe = fit_logistic(features[~here], labels[~here], classes, strength)
            right[here] = probe.probabilities(features[here]).argmax(axis=1) == labels[here]
        scores.append(right.mean())
    return strengths[int(np.argmax(scores))]


def minimised(loss: Loss, start: np.ndarray) -> np.ndarray:
    """The minimum of a smooth convex function by L-BFGS with backtracking.

    Args:
        loss: place -> value and gradient.
        start: where to begin.
    """
    place, (value, gradient) = start, loss(start)
    moves: list[tuple[np.ndarray, np.ndarray]] = []
    least = GRADIENT * max(1.0, float(np.abs(gradient).max()))
    for _ in range(MOST_STEPS):
        if np.abs(gradient).max() <= least:
            break
        direction = -_two_loops(gradient, moves)
        slope, length = float(gradient @ direction), 1.0 if moves else 1.0 / max(1.0, float(np.linalg.norm(gradient)))
        while True:
            there = place + length * direction
            new_value, new_gradient = loss(there)
            if new_value <= value + ARMIJO * length * slope or length < SHORTEST:
                break
            length /= 2
        if length < SHORTEST:
            break
        moves = [*moves, (there - place, new_gradient - gradient)][-MEMORY:]
        place, value, gradient = there, new_value, new_gradient
    return place


def _two_loops(gradient: np.ndarray, moves: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The inverse Hessian of the last moves, times the gradient (Nocedal 1980)."""
    found, shares = gradient.copy(), []
    for step, change in reversed(moves):
        share = (step @ found) / (step @ change)
        found -= share * change
        shares.append(share)
    if moves:
        step, change = moves[-1]
        found *= (step @ change) / (change @ change)
    for (step, change), share in zip(moves, reversed(shares), strict=True):
        found += step * (share - (change @ found) / (step @ change))
    return found


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return found


def _unit(features: np.ndarray) -> np.ndarray:
    """Rows of unit length; rows of zeros stay."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    found: np.ndarray = features / np.where(lengths > 0, lengths, 1.0)
    return found
