"""From a published SMARTIES file to model packages (smarties.md, 10).

What the file holds is read by `smarties_official`, which refuses everything that no layout has. The packages say what
the heads were trained on, for the files themselves name neither bands nor classes.
"""

from __future__ import annotations

import colorsys
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.manifest import check, files, golden, tensors
from backend.manifest.build import build
from backend.manifest.hub import DataSet, HubFile
from backend.manifest.package import ClassInfo, Output, Package, Tiling, Variant
from backend.protocol.errors import OutputError, PackageError
from backend.runtime.packing import pack, smarties
from backend.runtime.packing.smarties import Feeding
from backend.runtime.packing.tolerances import EXACT, Difference, with_tolerances
from backend.runtime.torch_session import TorchSession

if TYPE_CHECKING:
    from torch import nn

    from backend.models.encoders.smarties_official import OfficialWeights

VERSION = "1.0.0"
LICENCE = "Apache-2.0"
LICENCE_TEXT = Path(__file__).parents[3] / "resources" / "licences" / "Apache-2.0.txt"
PAPER = (
    "Sumbul, Xu, Dalsasso, Tuia: SMARTIES: Spectrum-Aware Multi-Sensor Auto-Encoder for Remote Sensing Images, "
    "ICCV 2025, arXiv:2506.19585"
)
TRAINING = (
    "by its authors: 60 000 fMoW pairs (RGB, Sentinel-2 L1C) and 188 000 BigEarthNet-MM pairs (Sentinel-2 L2A, "
    "Sentinel-1), 300 epochs of masked auto-encoding with tokens exchanged between sensors"
)  # smarties.md, 7.1
LAYOUTS = {
    "finetuned": "encoder and linear layer fine-tuned",
    "linear-probe": "linear probe on the frozen encoder",
    "multimodal-probe": "linear probe on mixed tokens of both sensors, frozen encoder",
    "segmentation": "linear segmentation on the frozen encoder",
}
# Layout -> our head with the same tensors behind `head.` (smarties.md, 10.2)
HEADS = {"finetuned": "scene-classifier", "linear-probe": "linear-probe", "segmentation": "linear-map"}
PRECISIONS = ("fp32", "bf16")
PROBABLE = 0.5  # from here on a class of several is said to be present


@dataclass(frozen=True)
class Source:
    """Where weights come from.

    Attributes:
        file: as the user named it.
        sha256: of what was fetched.
    """

    file: HubFile
    sha256: str

    @property
    def origin(self) -> str:
        """Address and sha256, see `hub.origin`."""
        return f"{self.file.address}#sha256={self.sha256}"


def convert(path: Path, source: Source, folder: Path, encoder: Package | None = None) -> tuple[Package, ...]:
    """Write the packages of a published file, those of `HubFile.packages` in their order, into `folder`.

    Args:
        path: the file.
        source: where it came from.
        folder: where each package gets a folder of its own.
        encoder: the installed package of the encoder in this very file; it is not made again.

    Raises:
        PackageError: the file is not what its name says, or anything in it is missing, unexpected or wrong.
        OutputError: a package cannot be written.
    """
    weights = _read(path, source, folder)
    if source.file.layout == "multimodal-probe":
        return (_pair(weights, source, folder),)
    made = [] if encoder else [_encoder(weights, source, folder)]
    data_set = source.file.data_set
    if data_set is not None:
        made.append(_head(weights, source, data_set, encoder or made[0], folder))
    return tuple(made)


def _read(path: Path, source: Source, folder: Path) -> OfficialWeights:
    from backend.models.encoders.smarties_official import read_official

    file = source.file
    name = f"{file.repository}/{file.file}"
    try:
        header = tensors.read_header(path)
    except PackageError as error:
        why = f"{error.what}: {error.why}" if error.why else error.what
        raise PackageError(
            f"what came for {name} is no file of weights", why.replace(path.name, "it"), "check the name and try again"
        ) from error
    _check_room(folder, sum(4 * int(np.prod(info.shape)) for info in header.values()))
    try:
        weights = read_official(path)
    except PackageError as error:
        why = error.why or error.what
        raise PackageError(f"{name} is not what SMARTIES files are", why, "take a published file") from error
    _check_expected(name, weights, file)
    return weights


def _check_expected(name: str, weights: OfficialWeights, file: HubFile) -> None:
    """Raise PackageError unless a sound file is the one that its name promises, of a kind that packages can say."""
    member, data_set = _member(weights), file.data_set
    if weights.kind != file.layout:
        why = f'its layout is "{weights.kind}", not "{file.layout}"'
        why += "" if data_set else ": bands and classes of its head are not known"
    elif weights.global_pool:
        why = "its feature is pooled"
    elif weights.image_size != smarties.IMAGE_SIZE:
        why = f"it is for images of {weights.image_size} pixels, not {smarties.IMAGE_SIZE}"
    elif not member or file.member not in ("", member):
        wanted = file.member or ", ".join(smarties.MEMBERS)
        why = f"its encoder has a width of {weights.width} and {weights.depth} blocks, which is not {wanted}"
    elif data_set is not None and weights.classes != len(data_set.classes):
        why = f"its head has {weights.classes} classes, {data_set.title} has {len(data_set.classes)}"
    else:
        return
    raise PackageError(f"{name} cannot be installed", why, "take a published file")


def _check_room(folder: Path, needed: int) -> None:
    """Room for the package in float32; a package is small beside its weights."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            "there is no room for the package",
            f"{needed >> 20} MiB are needed, {free >> 20} MiB are free",
            "make room on the disk",
        )


def _member(weights: OfficialWeights) -> str:
    """Name of the encoder's size; "" for one that this program does not know."""
    from backend.models.encoders.smarties import MEMBERS

    wanted = (weights.width, weights.depth)
    for name, builder in MEMBERS.items():
        size: dict[str, Any] = getattr(builder, "keywords", {})
        if (size.get("width"), size.get("depth")) == wanted:
            return name.removeprefix("smarties-")
    return ""


def _encoder(weights: OfficialWeights, source: Source, folder: Path) -> Package:
    file, member = source.file, _member(weights)
    slots = _feedings(file.data_set) if file.data_set else smarties.EVERY_SENSOR
    title = f"SMARTIES {_shown(member)}"
    title += f", encoder of {file.data_set.title}" if file.data_set else "" if file.member else f" of {file.repository}"
    package = smarties.describe(
        member, file.packages()[0], VERSION, title, slots, smarties.EXACT_RESIZE, **_texts(source)
    )
    network = _built(package.variants[0], weights.encoder, source)
    feeds = golden.expand_all(package, pack.golden_patches(package))
    expected = pack.compute(network, package, feeds)
    differences = pack.torch_differences(network, package, feeds, expected)
    package = with_tolerances(package, differences, expected)
    return pack.pack(network, package, folder, _licence(source), _card(package))


def _head(weights: OfficialWeights, source: Source, data_set: DataSet, encoder: Package, folder: Path) -> Package:
    (slot,) = data_set.slots
    segments = weights.kind == "segmentation"
    feature = encoder.feature(f"{slot}_4" if segments else f"{slot}_class")
    window = encoder.slot(slot).size
    cell = window // smarties.POSITIONS
    parameters: dict[str, Any] = {
        "head": HEADS[weights.kind],
        "features": (feature.name,),
        "channels": (feature.channels,) if segments else feature.channels,
        "classes": len(data_set.classes),
        "size": window if segments else 0,
    }
    package = Package(
        Path(),
        source.file.package,
        VERSION,
        _title(source, data_set, weights),
        "head",
        data_set.task,
        # On each side of a map two positions are trusted least, as in the encoder; a scene has no such sides.
        Tiling(window, cell, 2 * cell if segments else 0),
        (Variant("torch", "fp32", pack.WEIGHTS, EXACT, "head", parameters),),
        outputs=(_output(data_set),),
        features=(feature,),
        encoder=encoder.digest,
        architecture=f"SMARTIES head: {LAYOUTS[weights.kind]}",
        **_texts(source),
    )
    check.check_head(package, encoder)
    network = _built(package.variants[0], _named_head(weights), source)
    return _written(network, package, {feature.name: golden.read(encoder)[1][feature.name]}, source, folder)


def _pair(weights: OfficialWeights, source: Source, folder: Path) -> Package:
    """The multi-modal probe with its encoder; images have the data set's own size."""
    data_set = source.file.data_set
    assert data_set is not None
    slots = _feedings(data_set)
    size = next(iter(data_set.slots.values())).image_px
    parameters = {
        "member": _member(weights),
        "slots": tuple(slots),
        "band_sets": tuple("/".join(smarties.slots()[slot].ranges) for slot in slots),
        "classes": len(data_set.classes),
        "image_size": smarties.IMAGE_SIZE,
        "resize": smarties.EXACT_RESIZE,
    }
    package = Package(
        Path(),
        source.file.package,
        VERSION,
        _title(source, data_set, weights),
        "bundle",
        data_set.task,
        Tiling(size),
        tuple(
            Variant("torch", precision, pack.WEIGHTS, EXACT, "smarties-pair", parameters) for precision in PRECISIONS
        ),
        inputs=tuple(
            smarties.image_slot(name, smarties.slots()[name], feeding, size, smarties.EXACT_RESIZE)
            for name, feeding in slots.items()
        ),
        outputs=(_output(data_set),),
        architecture=f"SMARTIES, {_member(weights)}: {LAYOUTS[weights.kind]}, one fixed draw and its complement",
        **_texts(source),
    )
    state = {f"encoder.{name}": tensor for name, tensor in weights.encoder.items()} | _named_head(weights)
    network = _built(package.variants[0], state, source)
    return _written(network, package, pack.golden_patches(package), source, folder)


def _written(
    network: nn.Module, package: Package, patches: Mapping[str, np.ndarray], source: Source, folder: Path
) -> Package:
    """Write the package of a network that has no stages."""
    from backend.models.load import save_weights

    feeds = golden.expand_all(package, patches)
    outputs = TorchSession(network).run(feeds)
    differences = {
        ("torch", variant.precision): Difference.between(TorchSession(network, variant.precision).run(feeds), outputs)
        for variant in package.variants[1:]
    }
    package = with_tolerances(package, differences, outputs)
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / pack.WEIGHTS
        save_weights(network, weights)
        parts: dict[str, Path | bytes] = {
            pack.WEIGHTS: weights,
            files.LICENCE: _licence(source).encode(),
            "README.md": _card(package).encode(),
        }
        return build(package, parts, patches, outputs, folder)


def _built(variant: Variant, state: Mapping[str, Any], source: Source) -> nn.Module:
    """The network of a variant, which takes over the tensors."""
    from backend.models import registry
    from backend.models.load import check_tensors

    network = registry.build(variant.architecture or "", variant.parameters, device="meta")
    check_tensors(network, state, source.file.file)
    network.load_state_dict(dict(state), strict=True, assign=True)
    return network.eval()


def _named_head(weights: OfficialWeights) -> dict[str, Any]:
    return {f"head.{name}": tensor for name, tensor in weights.head.items()}


def _feedings(data_set: DataSet) -> dict[str, Feeding]:
    return {name: Feeding(slot.table, slot.unit, slot.pixels_per_token) for name, slot in data_set.slots.items()}


def _output(data_set: DataSet) -> Output:
    colours = _colours(len(data_set.classes))
    classes = tuple(
        ClassInfo(value, name, colour or colours[number])
        for number, (value, name, colour) in enumerate(data_set.classes)
    )
    thresholds = (PROBABLE,) * len(classes) if data_set.several else ()
    return Output("scores", "sigmoid" if data_set.several else "softmax", classes, thresholds)


def _colours(count: int) -> Sequence[str]:
    """Colours of even distance in hue, for classes that nobody gave one."""
    found = (colorsys.hsv_to_rgb(number / count, 0.6, 0.85) for number in range(count))
    return ["#" + "".join(f"{round(255 * part):02x}" for part in colour) for colour in found]


def _title(source: Source, data_set: DataSet, weights: OfficialWeights) -> str:
    return f"{data_set.title} with SMARTIES {_shown(_member(weights))}: {LAYOUTS[weights.kind]}"


def _shown(member: str) -> str:
    return member.replace("vit-", "ViT-").replace("-b", "-B").replace("-l", "-L")


def _texts(source: Source) -> dict[str, Any]:
    """Fields of every package of a file."""
    data_set = source.file.data_set
    training, description = TRAINING, "Converted from the published weights; float32, without the decoder."
    if data_set is not None:
        training += f"; then {LAYOUTS[source.file.layout]}: {data_set.title}"
        description += (
            f" The file names no classes; they and their order are those of {data_set.source}. Images of "
            f"{data_set.title} are {next(iter(data_set.slots.values())).image_px} pixels wide; the package cuts the "
            "nearest size with whole pixels per token."
        )
    attribution = f"{PAPER}. Weights: {source.origin}"
    return {"licence": LICENCE, "attribution": attribution, "training": training, "description": description}


def _licence(source: Source) -> str:
    """Notice and text; PackageError when this program's own copy of the text is gone."""
    notice = (
        "Weights of SMARTIES by Gencer Sumbul, Chang Xu, Emanuele Dalsasso and Devis Tuia, published at\n"
        f"{source.file.address}\nunder the Apache License, Version 2.0, whose text follows. They were changed: "
        "converted to float32,\nnamed as this program names them, and without what only pre-training needs.\n\n"
    )
    return notice + files.read_small(LICENCE_TEXT, files.LARGEST_DOCUMENT).decode()


def _card(package: Package) -> str:
    return f"# {package.title}\n\n{package.description}\n\nTraining: {package.training}.\n\n{package.attribution}\n"
