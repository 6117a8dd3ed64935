"""What became what: values, confidence and probability of change of two dates' scores."""

from __future__ import annotations

import numpy as np

from backend.scene.decide import ClassRule
from backend.scene.transitions import MOST_CLASSES, TransitionOutput, transition_value

ALL = np.ones((1, 2), bool)


def scores(*pixels: tuple[float, ...]) -> np.ndarray:
    """(channels, 1, pixels) float32 of one tuple per pixel."""
    return np.asarray(pixels, np.float32).T[:, None]


def test_every_change_has_a_value_of_its_own_that_fits_into_a_byte() -> None:
    count = MOST_CLASSES
    values = {transition_value(i, j, count) for i in range(count) for j in range(count) if i != j}
    assert len(values) == count * (count - 1) and min(values) > 0 and max(values) < 255
    assert {transition_value(i, i, count) for i in range(count)} == {0}


def test_classes_confidence_and_probability() -> None:
    output = TransitionOutput(ClassRule((7, 8, 9)), 255, "classes", "confidence", "probabilities")
    both = np.concatenate([scores((0.7, 0.2, 0.1), (0.1, 0.1, 0.8)), scores((0.1, 0.9, 0.0), (0.0, 0.0, 1.0))])
    found = output.layers(both, ALL)
    assert found["classes"].dtype == np.uint8 and found["classes"].tolist() == [[[transition_value(0, 1, 3), 0]]]
    np.testing.assert_allclose(found["confidence"][0, 0] / 250, [0.63, 0.8], atol=0.002)
    # 1 - sum over the classes of p_before p_after
    np.testing.assert_allclose(found["probabilities"][0, 0] / 250, [1 - 0.07 - 0.18, 0.2], atol=0.002)


def test_one_channel_tells_two_classes_apart() -> None:
    output = TransitionOutput(ClassRule((0, 1), threshold=0.6), 255, "classes", probabilities="probabilities")
    found = output.layers(np.concatenate([scores((0.9,), (0.5,)), scores((0.2,), (0.5,))]), ALL)
    assert output.channels == 2 and found["classes"].tolist() == [[[transition_value(1, 0, 2), 0]]]
    np.testing.assert_allclose(found["probabilities"][0, 0] / 250, [1 - 0.18 - 0.08, 0.5], atol=0.002)


def test_what_is_not_wanted_is_nodata_in_every_layer() -> None:
    output = TransitionOutput(ClassRule(tuple(range(15))), 255, "classes", "confidence", "probabilities")
    found = output.layers(np.full((30, 1, 2), 1 / 15, np.float32), np.array([[True, False]]))
    assert {name: array[0, 0, 1] for name, array in found.items()} == dict.fromkeys(found, 255)
    assert (found["classes"][0, 0, 0], found["confidence"][0, 0, 0]) == (0, 1)
