"""A model package of a head on an encoder package, with graphs for onnxruntime where a graph can hold it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from backend.manifest import golden
from backend.manifest.load import load
from backend.manifest.package import ClassInfo, Package
from backend.models.load import initialise, load_weights
from backend.models.registry import build
from backend.protocol.errors import ParameterError
from backend.runtime.packing.head import describe_head, golden_patches, pack_head
from backend.runtime.packing.pack import OWN_LICENCE, licence_text
from backend.train.export_head import export_head

RANDOM = "The weights are random: this package shows the way from features to a result, and knows nothing of the Earth."


@dataclass(frozen=True)
class HeadPackage:
    """What to pack.

    Attributes:
        encoder: name or folder of the encoder's package.
        head: a name of `backend.models.heads`.
        features: names of the features it takes, fine to coarse, joined by commas.
        classes: "value:name:#rrggbb" for each, joined by commas.
        output: folder that the package is written into.
        name: of the package.
        weights: safetensors file of the packaged head; "" for random weights.
        task: "segment", "change", "classify" or "detect".
        window: pixels of the result along a window's side; 0 for those of the features' input.
        arguments: further arguments of the head, as in "width=64,convolutions=2".
        version, title: of the package.
        seed: of random weights.
        graphs: "fp32,int8", "fp32" or "" for none.
        training, licence, licence_text, attribution: see `EncoderPackage`.
    """

    encoder: str
    head: str
    features: str
    classes: str
    output: str
    name: str
    weights: str = ""
    task: str = "segment"
    window: int = 0
    arguments: str = ""
    version: str = "1.0.0"
    title: str = ""
    seed: int = 0
    graphs: str = "fp32,int8"
    training: str = ""
    licence: str = ""
    licence_text: str = ""
    attribution: str = ""


def run(recipe: HeadPackage) -> dict[str, Any]:
    """Pack a head."""
    encoder = load(recipe.encoder)
    package = describe(recipe, encoder)
    variant = package.variants[0]
    network = build(variant.architecture or "", variant.parameters, device="meta")
    network = load_weights(network, recipe.weights) if recipe.weights else initialise(network, seed=recipe.seed)
    precisions = [] if recipe.task == "detect" else [part for part in recipe.graphs.split(",") if part]
    done = pack(
        network.eval(), package, encoder, Path(recipe.output), precisions, licence_text(package, recipe.licence_text)
    )
    return {"package": str(done.root), "digest": done.digest}


def describe(recipe: HeadPackage, encoder: Package) -> Package:
    """The description behind a recipe.

    Raises:
        ParameterError: its classes or arguments cannot be read, or the encoder has no such feature.
    """
    features, classes = recipe.features.split(","), _classes(recipe.classes)
    known = {feature.name: feature.channels for feature in encoder.features}
    channels = [known.get(feature, 0) for feature in features]
    vector = recipe.head in ("scene-classifier", "linear-probe")
    count = {} if recipe.head in ("bit", "upernet-difference") and len(classes) == 2 else {"classes": len(classes)}
    arguments = {"channels": sum(channels) if vector else channels, **count, **_arguments(recipe.arguments)}
    if recipe.weights and not recipe.licence:
        raise ParameterError("the licence of the weights is not known", "", "name it, as in --licence GPL-2.0-or-later")
    texts = {
        "description": "" if recipe.weights else RANDOM,
        "training": recipe.training or ("" if recipe.weights else "not trained"),
        "licence": recipe.licence or OWN_LICENCE,
        "attribution": recipe.attribution,
    }
    return describe_head(
        encoder,
        recipe.head,
        features,
        classes,
        recipe.name,
        recipe.version,
        recipe.title or f"{recipe.head} on {encoder.name}",
        recipe.task,
        recipe.window,
        "identity" if recipe.task == "detect" else "softmax",
        arguments,
        **texts,
    )


def pack(
    network: nn.Module,
    package: Package,
    encoder: Package,
    folder: Path,
    precisions: Sequence[str],
    licence: str,
) -> Package:
    """Write the package; an int8 variant that strays from torch is left out."""
    card = f"# {package.title}\n\n{package.description}\n\nArchitecture: {package.architecture}.\n"
    patches = golden_patches(package, encoder)
    feeds = golden.expand_all(package, patches)
    with tempfile.TemporaryDirectory() as scratch:
        graphs: dict[str, Path] = {}
        if precisions:
            package, graphs = export_head(network, package, feeds, Path(scratch), precisions)
        return pack_head(network, package, patches, folder, licence, card, graphs)


def _classes(text: str) -> tuple[ClassInfo, ...]:
    found = []
    for part in text.split(","):
        pieces = part.split(":")
        if len(pieces) != 3 or not pieces[0].isdigit():
            raise ParameterError(f'"{part}" is no class', "", "write it as in 1:water:#1f6fb4")
        found.append(ClassInfo(int(pieces[0]), pieces[1], pieces[2]))
    return tuple(found)


def _arguments(text: str) -> dict[str, int | float]:
    found: dict[str, int | float] = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        try:
            found[key] = float(value) if "." in value else int(value)
        except ValueError as error:
            raise ParameterError(f'"{part}" is no argument of a head', "", "write it as in width=64") from error
    return found
