"""Head packages: small networks on the features of one encoder package."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.manifest import files, golden
from backend.manifest.build import build
from backend.manifest.check import check_head
from backend.manifest.package import ClassInfo, Output, Package, Tiling, Variant
from backend.protocol.errors import ParameterError
from backend.runtime.torch_session import TorchSession

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = "weights.safetensors"
OUTPUTS = {"segment": "scores", "change": "scores", "classify": "scores", "detect": "detections"}
PATCH = 5  # positions per side of the golden patch of a map
GOLDEN_ROOM = 60_000  # bytes of the golden file for what the head gives


def describe_head(
    encoder: Package,
    head: str,
    features: Sequence[str],
    classes: Sequence[ClassInfo],
    name: str,
    version: str,
    title: str,
    task: str = "segment",
    window: int = 0,
    activation: str = "softmax",
    arguments: Mapping[str, Any] | None = None,
    **texts: Any,
) -> Package:
    """The description of a head's package; variants of torch only.

    Args:
        encoder: the package it belongs to.
        head: a name of `backend.models.heads`.
        features: what it takes of the encoder, fine to coarse.
        classes: in channel order.
        name, version, title: of the package.
        task: "segment", "change", "classify" or "detect".
        window: pixels of the result along a window's side; 0 for those of the first feature's input.
        activation: from its logits to scores.
        arguments: of the head; scalars and flat lists.
        **texts: further fields of `Package`.

    Raises:
        ParameterError: the encoder has no such feature, or a joined one is taken without saying the window.
    """
    known = {feature.name: feature for feature in encoder.features}
    unknown = [feature for feature in features if feature not in known]
    if unknown:
        raise ParameterError(f"{encoder.reference} has no feature {', '.join(unknown)}", f"it has {', '.join(known)}")
    chosen = tuple(known[feature] for feature in features)
    slot = next((feature.slot for feature in chosen if feature.slot), "")
    if not window and not slot:
        raise ParameterError("the window of the head is not known", "its features belong to no single input")
    window = window or encoder.slot(slot).size
    parameters: dict[str, Any] = {"head": head, "features": tuple(features), **(arguments or {})}
    if task != "classify":
        parameters["size"] = window
    share = window / encoder.tiling.window
    multiple = max(1, round(encoder.tiling.multiple * share))
    architecture = "detector" if task == "detect" else "head"
    outputs = ("before", "after") if head == "upernet-semantic-change" else (OUTPUTS[task],)
    package = Package(
        Path(),
        name,
        version,
        title,
        "head",
        task,
        Tiling(window, multiple, 0 if task in ("classify", "detect") else round(encoder.tiling.margin * share)),
        (Variant("torch", "fp32", WEIGHTS, 1e-3, architecture, parameters),),
        outputs=tuple(Output(output, activation, tuple(classes)) for output in outputs),
        features=chosen,
        encoder=encoder.digest,
        architecture=f"{head} on {encoder.name}",
        **texts,
    )
    if head == "upernet-semantic-change":
        changed = (ClassInfo(1, "changed", "#d7301f"),)
        package = replace(package, outputs=(*package.outputs, Output("changed", "identity", changed, (0.5,))))
    check_head(package, encoder)
    return package


def golden_patches(package: Package, seed: int = 0) -> golden.Arrays:
    """Golden inputs of a head: noise, since features are normalised; patches of maps, vectors whole."""
    generator = np.random.default_rng(seed)
    side = {name: min(PATCH, feature.size) for name, feature in package.head_inputs.items()}
    return {
        name: generator.normal(0, 1, (1, feature.channels, *([side[name]] * 2 if feature.size else ()))).astype(
            np.float32
        )
        for name, feature in package.head_inputs.items()
    }


def pack_head(
    network: nn.Module,
    package: Package,
    folder: Path,
    licence: str,
    card: str,
    graphs: Mapping[str, Path] | None = None,
) -> Package:
    """Write a head's package into `folder`/NAME-VERSION; the golden output is torch's in float32.

    Raises:
        OutputError: the package exists or cannot be written.
        PackageError: it would be refused on loading.
    """
    from backend.models.load import save_weights

    patches = golden_patches(package)
    outputs = TorchSession(network).run(golden.expand_all(package, patches))
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / WEIGHTS
        save_weights(network, weights)
        parts: dict[str, Path | bytes] = {WEIGHTS: weights, files.LICENCE: licence.encode(), "README.md": card.encode()}
        return build(package, {**parts, **(graphs or {})}, patches, outputs, folder, _samples(outputs))


def _samples(outputs: Mapping[str, np.ndarray]) -> int:
    """As many samples along each side of the stored maps as there is room for."""
    channels = sum(array.shape[1] for array in outputs.values() if array.ndim == 4)
    return max(1, min(16, int((GOLDEN_ROOM / 4 / max(1, channels)) ** 0.5)))
