"""A model on two dates is the model on each of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.manifest.package import Package
from backend.protocol.errors import Cancelled
from backend.runtime.model import Wish, blank_feeds, measure, open_model
from backend.runtime.two_dates import MOMENTS, dated, undated
from tests import packages

BOTH = Wish(both_dates=True)


def test_a_head_for_one_date_runs_on_both(encoder_with_heads: tuple[Package, list[Package]]) -> None:
    encoder, heads = encoder_with_heads
    with open_model([encoder, heads[0]], wish=BOTH) as model:
        assert [slot.name for slot in model.inputs] == ["before_image", "after_image"]
        feeds = blank_feeds(model.inputs, 3)
        before, after = model.run(feeds)
        assert [output.name for output in model.outputs] == ["before_scores", "after_scores"] and measure(model) > 0
    with open_model([encoder, heads[0]]) as model:
        for found, moment in ((before, "before"), (after, "after")):
            np.testing.assert_allclose(found, model.run({"image": feeds[dated(moment, "image")]})[0], atol=1e-6)
    assert not np.allclose(before, after)


def test_features_of_both_dates_of_a_staged_encoder_with_their_companions(tmp_path: Path) -> None:
    encoder = packages.staged_encoder(tmp_path)
    wish = Wish(frozenset({"before_ms", "after_ms"}), ("fused",), both_dates=True)
    with open_model([encoder], wish=wish) as model:
        assert [feature.name for feature in model.features] == ["before_fused", "after_fused"]
        feeds = blank_feeds(model.inputs, 2, {"before_ms": 2, "after_ms": 1})
        feeds["before_ms_valid"] = np.ones((2, 2, 4, 4), np.float32)
        feeds["before_ms_valid"][:, 1] = 0
        feeds["after_ms_valid"] = np.ones((2, 1, 4, 4), np.float32)
        before, after = model.run(feeds)
    for found, image in ((before, feeds["before_ms"][:, 0]), (after, feeds["after_ms"][:, 0])):
        expected = image.reshape(2, 2, 4, 2, 4, 2).mean(axis=(3, 5))
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_change_head_takes_both_and_is_run_once(tmp_path: Path) -> None:
    encoder = packages.pyramid_encoder(tmp_path, 32)
    head = packages.change_head(tmp_path, encoder)
    with open_model([encoder, head], wish=BOTH) as model:
        feeds = blank_feeds(model.inputs, 2)
        (scores,) = model.run(feeds)
    means = [feeds[dated(moment, "image")].reshape(2, 3, 4, 8, 4, 8).mean(axis=(1, 3, 5)) for moment in MOMENTS]
    distance = np.abs(means[1] - means[0]).repeat(8, 1).repeat(8, 2)
    np.testing.assert_allclose(scores, np.stack([1 - distance, distance], axis=1), atol=1e-6)


def test_it_can_be_interrupted(tmp_path: Path) -> None:
    encoder = packages.pyramid_encoder(tmp_path, 32)
    with open_model([encoder], wish=Wish(None, ("p8",), both_dates=True)) as model:
        model.interrupt()
        with pytest.raises(Cancelled):
            model.run(blank_feeds(model.inputs, 1))


def test_names_are_told_apart() -> None:
    assert [undated(dated(moment, "ms_1")) for moment in MOMENTS] == ["ms_1", "ms_1"]
