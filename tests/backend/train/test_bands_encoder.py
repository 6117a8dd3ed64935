"""The encoder in which nothing is learned: what it computes, and that the built-in package is what the recipe makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from backend.train.recipes.bands_encoder import BandsEncoder, Surroundings, run

ROOT = Path(__file__).resolve().parents[3]


def test_bands_and_the_means_of_the_squares_around_them() -> None:
    image = np.random.default_rng(0).normal(size=(1, 2, 20, 20)).astype(np.float32)
    with torch.inference_mode():
        found = Surroundings()(torch.from_numpy(image)).numpy()
    np.testing.assert_array_equal(found[:, :2], image)
    for number, side in ((1, 3), (2, 9)):
        reach = side // 2
        for row, col in ((10, 10), (0, 0), (19, 3)):
            square = image[0, :, max(0, row - reach) : row + reach + 1, max(0, col - reach) : col + reach + 1]
            mean = square.mean(axis=(1, 2))
            np.testing.assert_allclose(found[0, 2 * number : 2 * number + 2, row, col], mean, atol=1e-5)


def test_the_built_in_package_is_what_the_recipe_makes(tmp_path: Path) -> None:
    """The graph and its description; the golden output may differ in the last place from processor to processor."""
    made, built_in = Path(run(BandsEncoder(tmp_path))["package"]), ROOT / "resources" / "models" / "bands-s2-1.0.0"
    for name in ("model.onnx", "model.json", "README.md"):
        assert (made / name).read_bytes() == (built_in / name).read_bytes(), name
