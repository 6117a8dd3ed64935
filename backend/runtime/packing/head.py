"""Head packages: small networks on the features of one encoder package."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.manifest import files, golden
from backend.manifest.build import build
from backend.manifest.check import check_head
from backend.manifest.package import ClassInfo, Output, Package, Tiling, Variant
from backend.protocol.errors import ParameterError
from backend.runtime.choice import Choice, open_session
from backend.runtime.torch_session import TorchSession

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = "weights.safetensors"
TOLERANCE = 1e-3  # of torch on other processors: logits are of the order of ten, boxes of hundreds of pixels
OUTPUTS = {"segment": "scores", "change": "scores", "classify": "scores", "detect": "detections"}
CHANGED = ClassInfo(1, "changed", "#d7301f")
PATCH = 5  # positions per side of the golden patch of a map, less where many channels leave no room
GOLDEN_ROOM = 60_000  # bytes of the golden file for what the head gives
GOLDEN_HEADER = 5_000  # and for the names of its tensors


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
    package = Package(
        Path(),
        name,
        version,
        title,
        "head",
        task,
        Tiling(window, multiple, round(encoder.tiling.margin * share)),
        (Variant("torch", "fp32", WEIGHTS, TOLERANCE, architecture, parameters),),
        outputs=_outputs(head, task, activation, tuple(classes)),
        features=chosen,
        encoder=encoder.digest,
        architecture=f"{head} on {encoder.name}",
        **texts,
    )
    check_head(package, encoder)
    return package


def _outputs(head: str, task: str, activation: str, classes: tuple[ClassInfo, ...]) -> tuple[Output, ...]:
    """What a head gives; of semantic change the classes of both dates, and 1 where they differ."""
    if head != "upernet-semantic-change":
        return (Output(OUTPUTS[task], activation, classes),)
    changed = Output("changed", "identity", (CHANGED,), (0.5,))
    return Output("before", activation, classes), Output("after", activation, classes), changed


def golden_patches(package: Package, encoder: Package) -> golden.Arrays:
    """Golden inputs of a head: positions of what its encoder gives for its own golden input; vectors whole.

    Of change, the later date is the earlier one upside down, so that something changes.

    Args:
        package: the head's description.
        encoder: its encoder, installed with a variant in float32 that runs here.

    Raises:
        DeviceError, PackageError: the encoder does not run.
    """
    given = _encoded(encoder, [feature.name for feature in package.features])
    side = _side(package)
    patches = {}
    for name, feature in package.head_inputs.items():
        values = given[feature.name]
        if feature.size:
            turned = values[..., ::-1, ::-1] if package.task == "change" and name.startswith("after_") else values
            values = golden.sample(turned, (min(side, feature.size),) * 2)
        patches[name] = golden.as_float(values)
    return patches


def _encoded(encoder: Package, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Features of the encoder's golden input, in float32."""
    inputs, _ = golden.read(encoder)
    plain = [variant.runtime for variant in encoder.variants if variant.precision == "fp32"]
    runtime = "torch" if "torch" in plain else "onnxruntime"
    session = open_session(encoder, Choice(runtime, "fp32", "cpu", 1))
    try:
        return session.run(inputs, dict.fromkeys(names, "identity"))
    finally:
        session.close()


def _side(package: Package) -> int:
    """As many positions along each side of the golden patches as there is room for."""
    room = files.LARGEST_GOLDEN - GOLDEN_ROOM - GOLDEN_HEADER
    for side in range(PATCH, 1, -1):
        if sum(4 * f.channels * min(side, max(1, f.size)) ** 2 for f in package.head_inputs.values()) <= room:
            return side
    return 1


def pack_head(
    network: nn.Module,
    package: Package,
    patches: Mapping[str, np.ndarray],
    folder: Path,
    licence: str,
    card: str,
    graphs: Mapping[str, Path] | None = None,
) -> Package:
    """Write a head's package into `folder`/NAME-VERSION; the golden output is torch's in float32.

    Args:
        network: the packaged head in evaluation mode, on the CPU.
        package: its description.
        patches: its golden input, see `golden_patches`.
        licence: text of the licence with attribution.
        card: the model card as Markdown.
        graphs: files of the onnxruntime variants by name.

    Raises:
        OutputError: the package exists or cannot be written.
        PackageError: it would be refused on loading.
    """
    from backend.models.load import save_weights

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
