"""A model package of a foundation encoder, with graphs for onnxruntime where the member is small enough for them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from backend.manifest import golden
from backend.manifest.package import Package
from backend.models.load import initialise, load_weights, rounded
from backend.models.registry import build
from backend.protocol.errors import ParameterError
from backend.runtime.onnx_session import OnnxSession
from backend.runtime.packing import pack, skysense_v2, smarties
from backend.runtime.packing.tolerances import Difference, Way, with_tolerances
from backend.runtime.staged_session import JOIN, StagedSession
from backend.train.export_stages import export_stages
from backend.train.unseen_sensors import unseen_input

# 2 GB, the most that one graph can hold while it is exported; larger members run in torch.
TORCH_ONLY = ("skysense-v2-full", "skysense-v2-full-dense")
RANDOM = "The weights are random: this package shows the way from rasters to features, and knows nothing of the Earth."


@dataclass(frozen=True)
class EncoderPackage:
    """What to pack.

    Attributes:
        encoder: a name of `backend.models.encoders.names()`.
        output: folder that the package is written into.
        weights: safetensors file in the encoder's own layout; "" for random weights.
        name: of the package; "" for the encoder's name, with "-random" where the weights are.
        version: of the package.
        seed: of random weights.
        graphs: "fp32,int8", "fp32" or "" for none.
        hr_channels: of SkySense V2, 3 or 4.
        inputs: of SMARTIES, by name: s2, s2_l1c, landsat, s1, rgb (all five by default), and sensors of the catalogue
            that it never saw, such as planetscope-8, whose bands are taken by wavelength.
        half: store the weights in half precision; what is exported is made of the rounded weights, too.
        card: file with what else the model card says, as Markdown.
        description: what it is good for, in a sentence; shown where models are chosen.
        training: what the weights were trained on, for people.
        licence: of the weights, an SPDX identifier or "other"; needed where they are given.
        licence_text: file with its text, where it is another than this program's.
        attribution: whose weights they are, and where they come from.
    """

    encoder: str
    output: str
    weights: str = ""
    name: str = ""
    version: str = "1.0.0"
    seed: int = 0
    graphs: str = "fp32,int8"
    hr_channels: int = 3
    inputs: tuple[str, ...] = ()
    half: bool = False
    card: str = ""
    description: str = ""
    training: str = ""
    licence: str = ""
    licence_text: str = ""
    attribution: str = ""


def run(recipe: EncoderPackage) -> dict[str, Any]:
    """Pack an encoder."""
    package = describe(recipe)
    variant = package.variants[0]
    network = build(variant.architecture or "", variant.parameters, device="meta")
    network = load_weights(network, recipe.weights) if recipe.weights else initialise(network, seed=recipe.seed)
    licence = pack.licence_text(package, recipe.licence_text)
    precisions = [] if recipe.encoder in TORCH_ONLY else [part for part in recipe.graphs.split(",") if part]
    network = rounded(network.eval()) if recipe.half else network.eval()
    text = Path(recipe.card).read_text("utf-8") if recipe.card else ""
    done, differences = pack_encoder(network, package, Path(recipe.output), precisions, licence, text, recipe.half)
    told = {" ".join(way): asdict(difference) for way, difference in differences.items()}
    return {"package": str(done.root), "digest": done.digest, "difference to torch": told}


def describe(recipe: EncoderPackage) -> Package:
    """The description behind a recipe.

    Raises:
        ParameterError: there is no such encoder or input.
    """
    family, _, member = recipe.encoder.rpartition("skysense-v2-" if "skysense" in recipe.encoder else "smarties-")
    kinds: dict[str, list[str]] = {"skysense-v2-": list(skysense_v2.WIDTHS), "smarties-": list(smarties.MEMBERS)}
    prefix = recipe.encoder.removesuffix(member)
    if family or member not in kinds.get(prefix, []):
        names = ", ".join(kind + name for kind, members in kinds.items() for name in members)
        raise ParameterError(f'there is no encoder "{recipe.encoder}"', f"there is {names}")
    if recipe.weights and not recipe.licence:
        raise ParameterError(
            "the licence of the weights is not known",
            "whoever gets the package must know what he may do with it",
            "name it, as in --licence Apache-2.0",
        )
    texts: dict[str, Any] = {
        "licence": recipe.licence or pack.OWN_LICENCE,
        "attribution": recipe.attribution,
        "training": recipe.training or ("" if recipe.weights else "not trained: random weights"),
        "description": recipe.description or ("" if recipe.weights else RANDOM),
    }
    name = recipe.name or (recipe.encoder if recipe.weights else f"{recipe.encoder}-random")
    title = f"{'SkySense V2' if 'skysense' in recipe.encoder else 'SMARTIES'} {member}"
    title = title if recipe.weights else f"{title}, random weights"
    if prefix == "smarties-":
        inputs = [each.replace("-", "_") for each in recipe.inputs] or list(smarties.EVERY_SENSOR)
        unseen = {each: unseen_input(each) for each in inputs if each not in smarties.EVERY_SENSOR}
        feedings = {each: smarties.EVERY_SENSOR.get(each, smarties.UNSEEN) for each in inputs}
        return smarties.describe(member, name, recipe.version, title, feedings, unseen=unseen, **texts)
    if recipe.inputs:
        raise ParameterError("the inputs of SkySense V2 are given", "it knows hr, ms and sar", "leave --inputs out")
    return skysense_v2.describe(member, name, recipe.version, title, recipe.hr_channels, **texts)


def pack_encoder(
    network: nn.Module,
    package: Package,
    folder: Path,
    precisions: list[str],
    licence: str,
    text: str = "",
    half: bool = False,
) -> tuple[Package, dict[Way, Difference]]:
    """Write the package, with the variants that stay close enough to torch in float32.

    Args:
        licence: see `pack.licence_text`.
        text: what else the model card says.
        half: see `pack.pack`.

    Returns:
        the package, and the difference to torch in float32 by runtime and precision.
    """
    card = f"# {package.title}\n\n{package.description}\n\nArchitecture: {package.architecture}.\n{text}"
    with tempfile.TemporaryDirectory() as scratch:
        variants, files = export_stages(network, package, Path(scratch), precisions) if precisions else ((), {})
        package = replace(package, variants=(*variants, *package.variants))
        feeds = golden.expand_all(package, pack.golden_patches(package))
        expected = pack.compute(network, package, feeds)
        differences = _differences(network, package, Path(scratch), feeds, expected)
        package = with_tolerances(package, differences, expected)
        used = {name for v in package.variants for name in (v.file, *v.stages.values(), f"graphs-{v.precision}.data")}
        files = {name: path for name, path in files.items() if name in used}
        return pack.pack(network, package, folder, licence, card, files, half), differences


def _differences(
    network: nn.Module,
    package: Package,
    folder: Path,
    feeds: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
) -> dict[Way, Difference]:
    """Difference of each variant to torch in float32 on the golden data."""
    found = pack.torch_differences(network, package, feeds, expected)
    for variant in package.variants:
        if variant.runtime == "onnxruntime":
            graphs = {**variant.stages, JOIN: variant.file}
            computed = _computed(package, folder, graphs, variant.precision, feeds)
            found["onnxruntime", variant.precision] = Difference.between(computed, expected)
    return found


def _computed(
    package: Package, folder: Path, graphs: Mapping[str, str], precision: str, feeds: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    def open_stage(stage: str) -> OnnxSession:
        return OnnxSession(folder / graphs[stage], precision)

    session = StagedSession(package, open_stage, ("onnxruntime", precision, "cpu"), batch=1)
    try:
        return session.run(feeds, dict.fromkeys((feature.name for feature in package.features), "identity"))
    finally:
        session.close()
