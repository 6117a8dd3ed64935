"""An encoder without anything learned: the bands of a pixel and the means around it, for probes at full resolution.

It is what a practitioner would try first, as a package like any other: learning from labels, comparing dates and
embedding take it where an encoder's positions are too coarse.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.manifest import golden
from backend.manifest.build import build
from backend.manifest.package import Feature, InputSlot, Package, Step, Tiling, Variant
from backend.runtime.packing import bands
from backend.runtime.packing.pack import OWN_LICENCE, licence_text
from backend.runtime.packing.skysense_v2 import DIGITAL_MEAN, DIGITAL_NUMBERS, DIGITAL_STD, REFLECTANCE_BANDS
from backend.train.export import export_onnx, noise_patch, outputs_of

NAME, VERSION = "bands-s2", "1.0.0"
COMMAND = "scripts/python -m backend.train bands_encoder --output resources/models"
WINDOW, SIDES = 256, (3, 9)  # pixels; of the squares whose means are taken
TITLE = "Bands and their surroundings, Sentinel-2 (nothing learned)"
DESCRIPTION = (
    "Ten bands of every pixel with their means over 3 x 3 and 9 x 9 pixels. Nothing is learned in it: for learning "
    "from labels at full resolution, where spectra tell the classes apart, and as the bar for learned encoders."
)


@dataclass(frozen=True)
class BandsEncoder:
    """What to pack.

    Attributes:
        output: folder that the package is written into.
    """

    output: Path


class Surroundings(nn.Module):
    """Standardised bands, and their means over squares; what lies beyond the window does not count."""

    input_names, output_names = ("image",), ("pixels",)

    def forward(self, image: Tensor) -> Tensor:
        """B x C x H x W -> B x 3 C x H x W."""
        means = [functional.avg_pool2d(image, side, 1, side // 2, count_include_pad=False) for side in SIDES]
        return torch.cat([image, *means], dim=1)


def describe() -> Package:
    """The package's description."""
    mean, std = (tuple(value / DIGITAL_NUMBERS for value in values) for values in (DIGITAL_MEAN, DIGITAL_STD))
    image = InputSlot(
        "image", "ms", ("sentinel-2-l2a", "sentinel-2-l1c", "hls-s30", "multispectral"),
        bands.sentinel_2(*REFLECTANCE_BANDS), "reflectance", WINDOW,
        (Step("clip", minimum=(0.0,), maximum=(1.5,)), Step("standardise", mean=mean, std=std)),
        pixels_per_token=1.0, gsd_m=(5.0, 40.0),
    )  # fmt: skip
    channels = len(REFLECTANCE_BANDS) * (1 + len(SIDES))
    return Package(
        Path(), NAME, VERSION, TITLE, "encoder", "embed", Tiling(WINDOW, 1, max(SIDES) // 2),
        (Variant("onnxruntime", "fp32", "model.onnx", 1e-4),), inputs=(image,),
        features=(Feature("pixels", channels, WINDOW),), licence=OWN_LICENCE, description=DESCRIPTION,
        architecture="means over squares", training="nothing",
    )  # fmt: skip


def run(recipe: BandsEncoder) -> dict[str, Any]:
    """Pack an encoder in which nothing is learned: bands and the means around them."""
    package, network = describe(), Surroundings().eval()
    patches = {"image": noise_patch(np.full(len(REFLECTANCE_BANDS), -1.0), np.full(len(REFLECTANCE_BANDS), 1.0))}
    feeds = {"image": golden.expand(patches["image"], WINDOW)}
    card = f"# {TITLE}\n\n{DESCRIPTION}\n\nMade by `{COMMAND}`.\n"
    with tempfile.TemporaryDirectory() as scratch:
        graph = export_onnx(network, {"image": np.repeat(feeds["image"], 2, axis=0)}, Path(scratch) / "model.onnx")
        parts: dict[str, Path | bytes] = {
            "model.onnx": graph,
            "LICENSE": licence_text(package, "").encode(),
            "README.md": card.encode(),
        }
        done = build(package, parts, patches, outputs_of(network, feeds), recipe.output, samples=8)
    return {"package": str(done.root), "digest": done.digest}
