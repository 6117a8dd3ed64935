"""Probes in NumPy: equal to the reference implementation, and right where the answer is known."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from backend.tasks.probe import (
    TEMPERATURE,
    chosen_strength,
    fit_logistic,
    fit_neighbours,
    fit_prototypes,
)
from tests.backend.train.toy import ROOT


def clouds(
    count: int = 60, classes: int = 3, width: int = 8, seed: int = 0, apart: float = 1.5
) -> tuple[np.ndarray, np.ndarray]:
    """Normal clouds with unequal numbers of samples and unequal spreads of the features."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(classes, count, p=np.array([6, 3, 1])[:classes] / sum([6, 3, 1][:classes]))
    labels[:classes] = range(classes)
    centres = apart * generator.normal(size=(classes, width))
    features = centres[labels] + generator.normal(size=(count, width))
    return features * 10.0 ** generator.integers(-2, 3, width) + 5, labels


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("balanced", [True, False])
def test_logistic_is_the_references(strength: float, balanced: bool) -> None:
    features, labels = clouds()
    ours = fit_logistic(features, labels, 3, strength, balanced).probabilities(features)
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    reference = LogisticRegression(
        C=strength, class_weight="balanced" if balanced else None, tol=1e-8, max_iter=10_000
    ).fit(scaled, labels)
    np.testing.assert_allclose(ours, reference.predict_proba(scaled), atol=1e-3)


def test_the_units_of_the_features_do_not_matter() -> None:
    features, labels = clouds()
    first = fit_logistic(features, labels, 3).probabilities(features)
    other = fit_logistic(features * 1000 - 7, labels, 3).probabilities(features * 1000 - 7)
    np.testing.assert_allclose(first, other, atol=1e-4)


def test_features_that_never_change_and_classes_that_lack_do_no_harm() -> None:
    features, labels = clouds(classes=2)
    features = np.column_stack([features, np.ones(len(features))])
    found = fit_logistic(features, labels, 4).probabilities(features)
    assert np.isfinite(found).all() and (found[:, 2:] == 0).all()
    prototypes = fit_prototypes(features, labels, 4).probabilities(features)
    assert np.isfinite(prototypes).all() and (prototypes[:, 2:] == 0).all()


def test_neighbours_vote_by_similarity() -> None:
    """Three samples at 0, 60 and 90 degrees, the first of class 0: of two neighbours, weights exp(cosine / 0.07)."""
    angles = np.radians([0, 60, 90])
    samples = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = fit_neighbours(samples, np.array([0, 1, 1]), 2, neighbours=2).probabilities(np.array([[3.0, 0.0]]))
    weights = np.exp(np.array([1.0, 0.5]) / TEMPERATURE)
    np.testing.assert_allclose(found[0], weights / weights.sum(), rtol=1e-6)
    assert fit_neighbours(samples, np.array([0, 1, 1]), 2).probabilities(samples).shape == (3, 2)


def test_prototypes_are_mean_directions() -> None:
    samples = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, -3.0]])
    probe = fit_prototypes(samples, np.array([0, 1, 2]), 3)
    assert probe.probabilities(samples).argmax(axis=1).tolist() == [0, 1, 2]
    np.testing.assert_allclose(np.linalg.norm(probe.prototypes, axis=1), 1)


def test_the_strength_that_fits_other_places_is_chosen() -> None:
    """Noise in many features: a probe that believes the data loses against one that does not."""
    generator = np.random.default_rng(3)
    labels = np.arange(40) % 2
    features = np.column_stack([labels + 0.7 * generator.normal(size=40), generator.normal(size=(40, 60))])
    strength = chosen_strength(features, labels, 2, np.arange(40) // 8)
    right = {}
    for candidate in (strength, 10.0):
        scores = []
        for fold in range(5):
            here = np.arange(40) // 8 == fold
            probe = fit_logistic(features[~here], labels[~here], 2, candidate)
            scores.append((probe.probabilities(features[here]).argmax(axis=1) == labels[here]).mean())
        right[candidate] = np.mean(scores)
    assert right[strength] >= right[10.0]
    assert chosen_strength(features, labels, 2, np.arange(40) // 8, [7.0]) == 7.0


def test_it_runs_in_the_light_environment(light_python: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import numpy; from backend.tasks.probe import fit_logistic; "
        "probe = fit_logistic(numpy.eye(4), numpy.arange(4) % 2, 2); "
        "assert (probe.probabilities(numpy.eye(4)).argmax(axis=1) == numpy.arange(4) % 2).all(); "
        "assert 'torch' not in sys.modules and 'scipy' not in sys.modules"
    )
    subprocess.run([light_python, "-I", "-c", code, str(ROOT)], check=True)
