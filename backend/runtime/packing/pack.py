"""From a staged network to a model package on disk: weights, golden data, licence, model card, exported graphs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backend.manifest import files, golden
from backend.manifest.build import build
from backend.manifest.package import InputSlot, Package
from backend.protocol.errors import ParameterError
from backend.runtime.packing.tolerances import Difference, Way
from backend.runtime.staged_session import StagedSession
from backend.runtime.torch_session import TorchSession

if TYPE_CHECKING:
    from torch import nn

# Pixels per side of a golden patch; odd, so that sampling at even distances does not meet the same pixel each time.
PATCH = 19
GOLDEN_DATES = 2
GOLDEN_DAYS = (15.0, 200.0)
MOST_SAMPLES = 8
GOLDEN_BYTES = files.LARGEST_GOLDEN - 20_000  # less the header
WEIGHTS = "weights.safetensors"
OWN_LICENCE = "GPL-2.0-or-later"


def pack(
    network: nn.Module,
    package: Package,
    folder: Path,
    licence: str,
    card: str,
    graphs: Mapping[str, Path] | None = None,
    half: bool = False,
) -> Package:
    """Write the package of a staged network into `folder`/NAME-VERSION.

    The golden input is noise about the mean of normalised data, the golden output what torch gives in float32.

    Args:
        network: the network in evaluation mode, on the CPU.
        package: its description.
        licence: text of the licence with attribution.
        card: the model card as Markdown.
        graphs: files of the onnxruntime variants by name.
        half: store the weights in half precision, to which they are rounded already.

    Raises:
        OutputError: the package exists or cannot be written.
        PackageError: it would be refused on loading.
    """
    from backend.models.load import save_weights

    patches = golden_patches(package)
    outputs = compute(network, package, golden.expand_all(package, patches))
    samples = _samples(package, patches)
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / WEIGHTS
        save_weights(network, weights, half)
        parts: dict[str, Path | bytes] = {WEIGHTS: weights, files.LICENCE: licence.encode(), "README.md": card.encode()}
        return build(package, {**parts, **(graphs or {})}, patches, outputs, folder, samples)


def compute(
    network: nn.Module, package: Package, feeds: Mapping[str, np.ndarray], precision: str = "fp32"
) -> dict[str, np.ndarray]:
    """Every feature of a staged network in torch, by name."""
    from backend.models.stages import Stage

    def open_stage(stage: str) -> TorchSession:
        return TorchSession(Stage(network, stage), precision)

    session = StagedSession(package, open_stage, ("torch", precision, "cpu"), batch=1)
    try:
        return session.run(feeds, dict.fromkeys((feature.name for feature in package.features), "identity"))
    finally:
        session.close()


def torch_differences(
    network: nn.Module, package: Package, feeds: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> dict[Way, Difference]:
    """How far the reduced precisions of a staged network in torch are from `expected`, float32."""
    reduced = {v.precision for v in package.variants if v.runtime == "torch" and v.precision != "fp32"}
    return {
        ("torch", precision): Difference.between(compute(network, package, feeds, precision), expected)
        for precision in sorted(reduced)
    }


def licence_text(package: Package, path: str = "") -> str:
    """Content of the package's LICENSE: whose work the weights are, and under what terms.

    Args:
        package: names its licence and to whom its weights are owed.
        path: file with the text of the licence; "" for this program's own where the weights are under it too.

    Raises:
        ParameterError: the text is not at hand, or cannot be read.
    """
    owed = f"{package.attribution}\n\n" if package.attribution else ""
    if path:
        return owed + files.read_small(Path(path), files.LARGEST_DOCUMENT).decode("utf-8", "replace")
    if package.licence != OWN_LICENCE:
        raise ParameterError(
            f"the text of the licence {package.licence} is needed",
            "a package carries it with the weights",
            "name a file that holds it with --licence-text",
        )
    return owed + (Path(__file__).parents[3] / "LICENSE").read_text(encoding="utf-8")


def golden_patches(package: Package, seed: int = 0) -> golden.Arrays:
    """Golden inputs of a staged package: noise patches, all bands, days of two dates, a hole in the second date."""
    generator = np.random.default_rng(seed)
    found: golden.Arrays = {}
    for slot in package.inputs:
        dates = GOLDEN_DATES if slot.temporal else 1
        shape = (1, *((dates,) if slot.temporal else ()), len(slot.bands), *_patch(slot))
        found[slot.name] = generator.normal(0, 1, shape).astype(np.float32)
        if slot.days_input:
            found[slot.days_input] = np.asarray([GOLDEN_DAYS[:dates]], np.float32)
        if slot.valid_input:
            side = package.feature(package.joins[0]).size
            valid = np.ones((1, dates, side, side), np.float32)
            valid[:, 1:, : side // 2] = 0
            found[slot.valid_input] = valid
        if slot.bands_input:
            found[slot.bands_input] = np.ones((1, len(slot.bands)), np.float32)
    return found


def _patch(slot: InputSlot) -> tuple[int, int]:
    side = min(PATCH, slot.size)
    return side, side


def _samples(package: Package, patches: Mapping[str, np.ndarray]) -> int:
    """As many samples along each side of the golden outputs as the file may hold."""
    room = GOLDEN_BYTES - sum(array.nbytes for array in patches.values())
    for samples in range(MOST_SAMPLES, 1, -1):
        needed = sum(4 * f.channels * max(1, min(samples, f.size)) ** 2 for f in package.features)
        if needed <= room:
            return samples
    return 1
