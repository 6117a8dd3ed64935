"""What must hold between the parts of a package description, beyond the form of each."""

from __future__ import annotations

from collections.abc import Iterable

from backend.manifest import steps
from backend.manifest.package import (
    ACTIVATIONS,
    KINDS,
    MODALITIES,
    MOMENTS,
    PRECISIONS,
    RESIZINGS,
    RUNTIMES,
    TASKS,
    UNITS,
    InputSlot,
    Output,
    Package,
    Variant,
)
from backend.protocol.errors import PackageError

FILES = {"onnxruntime": ".onnx", "torch": ".safetensors"}
MAPS = ("segment", "change")


def check(package: Package) -> None:
    """Raise PackageError where the description contradicts itself."""
    _check_words(package)
    _check_kind(package)
    window, multiple, margin = package.tiling.window, package.tiling.multiple, package.tiling.margin
    if window % multiple or 2 * margin >= window:
        _refuse(
            "the tiling cannot be used",
            f"a window of {window} pixels must be a multiple of {multiple} and more than twice the margin of {margin}",
        )
    for slot in package.inputs:
        _check_slot(slot, package.staged)
    for output in package.outputs:
        _check_output(output, package.task)
    for variant in package.variants:
        _check_variant(variant)
    _check_stages(package)
    graph_inputs = [
        name
        for slot in package.inputs
        for name in (slot.name, slot.days_input, slot.valid_input, slot.bands_input)
        if name
    ]
    _unique("input", graph_inputs)
    given = [f.name for f in package.features] if package.kind != "head" else []
    _unique("output", [output.name for output in package.outputs] + given)
    _unique("feature", [feature.name for feature in package.features])
    _unique("variant", [f"{variant.runtime} {variant.precision}" for variant in package.variants])
    if not package.golden.endswith(".safetensors"):
        _refuse(f'the golden file "{package.golden}" is no .safetensors file')
    if package.style is not None and not package.style.endswith(".qml"):
        _refuse(f'the style "{package.style}" is no .qml file')


def check_head(head: Package, encoder: Package) -> None:
    """Raise PackageError unless the head was made for exactly this encoder."""
    if head.encoder != encoder.digest:
        _refuse(
            f"the head {head.reference} does not belong to the encoder {encoder.reference}",
            f"the encoder it was made for has the digest {(head.encoder or '')[:12]}, this one {encoder.digest[:12]}",
            "install the encoder it was made for",
        )
    given = {feature.name: feature for feature in encoder.features}
    for feature in head.features:
        if given.get(feature.name) != feature:
            _refuse(
                f"the head {head.reference} does not fit the encoder {encoder.reference}",
                f'the feature "{feature.name}" is another one in the encoder',
            )
    for slot in encoder.inputs if encoder.staged else ():
        if slot.size % head.tiling.window and head.tiling.window % slot.size:
            _refuse(
                f"the head {head.reference} does not fit the encoder {encoder.reference}",
                f'its window of {head.tiling.window} pixels and the {slot.size} of the input "{slot.name}" are no '
                "whole multiple of each other",
            )
    if not encoder.staged and head.tiling != encoder.tiling:
        _refuse(f"the head {head.reference} does not fit the encoder {encoder.reference}", "their tilings differ")


def _check_stages(package: Package) -> None:
    """What makes a staged encoder whole: one feature of each joined input, all of one shape; graphs for every stage."""
    slots = [slot.name for slot in package.inputs]
    by_slot = {feature.slot for feature in package.features if feature.slot}
    if package.kind != "head" and by_slot and not package.joins:
        _refuse("features belong to single inputs, but nothing joins them", "name the features that the join takes")
    staged = [variant.stages for variant in package.variants if variant.runtime == "onnxruntime"]
    if not package.joins:
        if any(staged):
            _refuse("a variant has stages, but the package has no join")
        return
    if package.kind != "encoder":
        _refuse("only an encoder can be staged")
    joined = [feature for name in package.joins for feature in package.features if feature.name == name]
    if len(joined) != len(package.joins) or sorted(f.slot for f in joined) != sorted(slots):
        _refuse("the join does not take exactly one feature of every input", f"it takes {', '.join(package.joins)}")
    if not by_slot <= set(slots):
        _refuse("a feature belongs to no input of the package", f"the inputs are {', '.join(slots)}")
    if len({(f.channels, f.size) for f in joined}) > 1 or not joined[0].size:
        _refuse("the features that are joined are not maps of one shape")
    if any(set(stages) != set(slots) for stages in staged):
        _refuse("a variant does not have one graph for every input", f"the inputs are {', '.join(slots)}")
    for slot in package.inputs:
        if slot.size % joined[0].size:
            _refuse(f'the input "{slot.name}" has {slot.size} pixels', f"no multiple of {joined[0].size} positions")


def _check_words(package: Package) -> None:
    """Words of closed lists, for packages that are being built and were not read from a file."""
    words = [(package.kind, KINDS), (package.task, TASKS)]
    for slot in package.inputs:
        words += [(slot.modality, MODALITIES), (slot.unit, UNITS), (slot.moment, MOMENTS), (slot.resize, RESIZINGS)]
    words += [(output.activation, ACTIVATIONS) for output in package.outputs]
    words += [(variant.runtime, RUNTIMES) for variant in package.variants]
    words += [(variant.precision, PRECISIONS) for variant in package.variants]
    for word, allowed in words:
        if word not in allowed:
            _refuse(f'"{word}" is not known', f"it must be one of {', '.join(allowed)}")


def _check_kind(package: Package) -> None:
    has = {
        "inputs": package.inputs,
        "outputs": package.outputs,
        "features": package.features,
        "encoder": package.encoder,
    }
    needed = {
        "encoder": {"inputs": True, "outputs": False, "features": True, "encoder": False},
        "head": {"inputs": False, "outputs": True, "features": True, "encoder": True},
        "bundle": {"inputs": True, "outputs": True, "encoder": False},
    }[package.kind]
    for part, wanted in needed.items():
        if bool(has[part]) != wanted:
            _refuse(f"a package of kind {package.kind} must {'' if wanted else 'not '}have {part}")
    if package.kind == "encoder" and package.task != "embed":
        _refuse("the task of an encoder must be embed")


def _check_slot(slot: InputSlot, staged: bool) -> None:
    _unique(f'band of the input "{slot.name}"', [band.name for band in slot.bands])
    for step in slot.steps:
        try:
            steps.check(step, len(slot.bands))
        except PackageError as error:
            _refuse(
                f'the input "{slot.name}" cannot be normalised',
                f"{error.what}: {error.why}" if error.why else error.what,
            )
    low, high = slot.dates
    if low > high or (high > 1 and not slot.temporal):
        _refuse(
            f'the input "{slot.name}" has unusable dates',
            f"{low} to {high}, {'with' if slot.temporal else 'without'} a date axis",
        )
    if (slot.days_input or slot.valid_input) and not (slot.temporal or staged):
        _refuse(f'the input "{slot.name}" takes days or gaps of a series but has no date axis')
    if not slot.gsd_m[0] <= slot.gsd_m[1]:
        _refuse(f'the input "{slot.name}" has an empty range of pixel sizes')
    has_polarisations = any(band.polarisation for band in slot.bands)
    if slot.modality != "raster" and has_polarisations != (slot.modality == "sar"):
        _refuse(
            f'the bands of the input "{slot.name}" do not fit its modality {slot.modality}',
            "SAR bands have a polarisation, optical bands have none",
        )


def _check_output(output: Output, task: str) -> None:
    values = [info.value for info in output.classes]
    _unique(f'class value of the output "{output.name}"', map(str, values))
    _unique(f'class name of the output "{output.name}"', [info.name for info in output.classes])
    if output.nodata in values:
        _refuse(f'the output "{output.name}" uses {output.nodata} both as nodata and as a class')
    if task in ("segment", "change", "classify") and not output.classes:
        _refuse(f'the output "{output.name}" has no classes', f"the task {task} needs them")
    if output.thresholds and len(output.thresholds) != len(output.classes):
        _refuse(f'the output "{output.name}" has {len(output.thresholds)} thresholds for {len(output.classes)} classes')
    if task in MAPS and max([*values, output.nodata]) > 255:
        _refuse(f'the output "{output.name}" does not fit a class raster', "values and nodata must be 0 to 255")


def _check_variant(variant: Variant) -> None:
    suffix = FILES[variant.runtime]
    if not variant.file.endswith(suffix):
        _refuse(f'the {variant.runtime} variant has the file "{variant.file}"', f"it must end in {suffix}")
    if variant.runtime == "torch" and variant.stages:
        _refuse("the torch variant has graphs of stages", "its network has them itself")
    if (variant.runtime == "torch") != (variant.architecture is not None):
        _refuse(
            f"the {variant.runtime} {variant.precision} variant is incomplete or odd",
            "an architecture is needed for torch, and only there",
        )
    if variant.runtime == "onnxruntime" and variant.parameters:
        _refuse("the onnxruntime variant has parameters", "they are in its graph already")


def _unique(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            _refuse(f'the {what} "{name}" is there twice')
        seen.add(name)


def _refuse(what: str, why: str = "", fix: str = "") -> None:
    raise PackageError(what, why, fix)
