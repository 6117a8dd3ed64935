"""Both foundation encoders, tiny and with random weights: onnxruntime and torch give the same features."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from backend.manifest.package import InputSlot, Package
from backend.protocol.errors import Cancelled
from backend.runtime.choice import Choice, open_session
from backend.runtime.model import blank_feeds
from backend.runtime.session import Session
from backend.runtime.verify import verify

pytestmark = pytest.mark.slow

NAMES = ("skysense-v2-tiny", "smarties-tiny")
TOLERANCE = 1e-4  # what both runtimes may differ by


@pytest.fixture(scope="module", params=NAMES)
def encoder(request: pytest.FixtureRequest, exported: Callable[[str], Package]) -> Package:
    return exported(request.param)


def session(encoder: Package, runtime: str, batch: int = 2, precision: str = "fp32") -> Session:
    return open_session(encoder, Choice(runtime, precision, "cpu", batch))


def feeds_of(encoder: Package, count: int = 2, dates: int = 2) -> dict[str, np.ndarray]:
    """Noise; several dates where the encoder takes them, a corner without data in the first, each with its day."""
    feeds = blank_feeds(encoder.inputs, count, {slot.name: min(dates, slot.dates[1]) for slot in encoder.inputs})
    side = encoder.feature(encoder.joins[0]).size
    for slot in encoder.inputs:
        feeds[slot.name] = 2 * feeds[slot.name] - 1
        if slot.valid_input:
            valid = np.ones((*feeds[slot.valid_input].shape, side, side), np.float32)
            valid[:, 0, : side // 2, : side // 2] = 0
            feeds[slot.valid_input] = valid
        if slot.days_input:
            feeds[slot.days_input] *= 30 * (1 + np.arange(feeds[slot.days_input].shape[1], dtype=np.float32))
    return feeds


def assert_close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float = TOLERANCE) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert np.isfinite(found[name]).all() and values.std() > 0
        np.testing.assert_allclose(found[name], values, atol=tolerance, rtol=0, err_msg=name)


def only(encoder: Package, feeds: dict[str, np.ndarray], slot: str) -> dict[str, np.ndarray]:
    """What belongs to one input."""
    of = encoder.slot(slot)
    return {name: feeds[name] for name in (slot, of.days_input, of.valid_input, of.bands_input) if name}


def series(encoder: Package) -> InputSlot:
    """The smallest input with several dates: the cheapest to compute."""
    return min((slot for slot in encoder.inputs if slot.dates[1] > 1), key=lambda slot: slot.size)


def test_every_variant_agrees_with_its_golden_data(encoder: Package) -> None:
    checks = [check for check in verify(encoder) if check.difference is not None]
    assert {(check.runtime, check.precision) for check in checks} >= {("onnxruntime", "fp32"), ("torch", "fp32")}
    assert all(check.ok for check in checks), [check.sentence() for check in checks]


def test_both_runtimes_give_the_same_features(encoder: Package) -> None:
    feeds = feeds_of(encoder)
    expected = session(encoder, "torch").run(feeds)
    assert expected.keys() == {feature.name for feature in encoder.features}
    assert_close(session(encoder, "onnxruntime").run(feeds), expected)


def test_one_input_alone(encoder: Package) -> None:
    feeds = feeds_of(encoder, count=1)
    for slot in encoder.inputs:
        part = only(encoder, feeds, slot.name)
        expected = session(encoder, "torch").run(part)
        assert_close(session(encoder, "onnxruntime").run(part), expected)
        assert "fused" in expected and all(encoder.feature(name).slot in ("", slot.name) for name in expected)


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_batches_and_other_windows_change_nothing(encoder: Package, runtime: str) -> None:
    feeds = only(encoder, feeds_of(encoder, count=3), series(encoder).name)
    together = session(encoder, runtime, 8).run(feeds, {"fused": "identity"})["fused"]
    for batch in (1, 2):
        parts = session(encoder, runtime, batch).run(feeds, {"fused": "identity"})["fused"]
        np.testing.assert_allclose(parts, together, atol=TOLERANCE)
    alone = session(encoder, runtime).run({name: values[1:2] for name, values in feeds.items()}, {"fused": "identity"})
    np.testing.assert_allclose(alone["fused"][0], together[1], atol=TOLERANCE)


def test_days_and_validity_matter(encoder: Package) -> None:
    slot = series(encoder)
    assert slot.valid_input
    feeds = only(encoder, feeds_of(encoder, count=1), slot.name)
    run_of = session(encoder, "onnxruntime").run

    def fused(**changes: np.ndarray) -> np.ndarray:
        return run_of({**feeds, **changes}, {"fused": "identity"})["fused"]

    before = fused()
    if slot.days_input:  # SMARTIES does not look at days
        assert np.abs(fused(**{slot.days_input: feeds[slot.days_input] + 100}) - before).max() > 1e-4
    valid, image = feeds[slot.valid_input].copy(), feeds[slot.name].copy()
    valid[:, 0] = 0
    image[:, 0] *= -1
    hidden = fused(**{slot.valid_input: valid})
    assert np.abs(hidden - before).max() > 1e-2
    # SMARTIES leaves what is hidden a weight of 1e-6, so that there is a mean where everything is.
    np.testing.assert_allclose(fused(**{slot.valid_input: valid, slot.name: image}), hidden, atol=1e-4)


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_interrupt(encoder: Package, runtime: str) -> None:
    stopped = session(encoder, runtime)
    feeds = only(encoder, feeds_of(encoder, count=1), series(encoder).name)
    stopped.run(feeds, {"fused": "identity"})
    stopped.interrupt()
    with pytest.raises(Cancelled):
        stopped.run(feeds, {"fused": "identity"})
