"""Loading a model package: nothing of it is used before all of it is checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from backend.manifest import check, document, files, golden, locate, onnx_graph, tensors
from backend.manifest.package import Feature, InputSlot, Package, Variant
from backend.manifest.upgrade import upgrade
from backend.protocol.errors import PackageError

_ANY = -2  # a size that is not compared


def load(reference: str | Path, digests: bool = True) -> Package:
    """The package in a folder, or the installed package called `name` (newest) or `name@version`, strictly checked.

    Args:
        digests: also read all files and compare their sha256; listings leave that out.

    Raises:
        PackageError: when there is no such package, or any part of it is damaged, unknown, unsafe or contradictory.
    """
    root = find(reference).absolute()
    try:
        return load_folder(root, digests)
    except PackageError as error:
        why = f"{error.what}: {error.why}" if error.why else error.what
        raise PackageError(f'"{reference}" cannot be used as a model', why, error.fix) from error


def load_folder(root: Path, digests: bool = True) -> Package:
    """The package in a folder; see `load`."""
    sizes = files.file_sizes(root)
    sums, digest = files.read_sums(root)
    files.check_listed(sums, sizes)
    if digests:
        files.check_digests(root, sums)
    return check_folder(root, sizes, digest)


def check_folder(root: Path, sizes: dict[str, int], digest: str) -> Package:
    """The package whose files are known by name and size; everything but names and digests is checked here."""
    described = {name: size for name, size in sizes.items() if name not in (files.DOCUMENT, files.SUMS)}
    content = files.parse_json(files.read_small(root / files.DOCUMENT, files.LARGEST_DOCUMENT), files.DOCUMENT)
    package = document.decode(upgrade(content), root, described, digest)
    check.check(package)
    _check_files(package, sizes)
    golden.check(package, sizes)
    return package


def find(reference: str | Path) -> Path:
    """Folder of a package given by path, name or name@version."""
    path = Path(reference)
    if path.is_dir():
        return path
    text = str(reference)
    if path.exists() or text.endswith(".zip"):
        raise PackageError(
            f"{text} is not a package folder",
            "" if path.exists() else "it is not there",
            f'run "earthprism models install {text}" first',
        )
    name, _, version = text.partition("@")
    known = locate.candidates()
    for found, number, folder in known:
        if found == name and version in ("", number):
            return folder
    versions = [f"{found}@{number}" for found, number, _ in known if found == name]
    names = versions or list(dict.fromkeys(found for found, _, _ in known))
    raise PackageError(
        f'there is no model package "{text}"',
        f"installed are {', '.join(names) or 'none'}",
        'give a name of "earthprism models list" or the path of a package folder',
    )


def _check_files(package: Package, sizes: dict[str, int]) -> None:
    named = [
        package.golden,
        *(name for variant in package.variants for name in (variant.file, *variant.stages.values())),
        *([package.style] if package.style else []),
    ]
    for name in named:
        if name not in sizes:
            raise PackageError(f'the package lacks the file "{name}"', f"{files.DOCUMENT} names it")
    used = {*named, *files.REQUIRED}
    for name in sizes:
        if name.endswith(".safetensors"):
            tensors.read_header(package.path(name))
    for variant in package.variants:
        if variant.runtime == "onnxruntime":
            for name, inputs, outputs in _graphs(package, variant):
                used |= _check_graph(package, name, inputs, outputs, sizes)
    for name in sizes:
        if name not in used and not name.endswith((".md", ".png")):
            raise PackageError(f'the package holds the file "{name}"', "nothing in it uses this file")


Shapes = dict[str, onnx_graph.Shape]


def _graphs(package: Package, variant: Variant) -> list[tuple[str, Shapes, Shapes]]:
    """File, inputs and outputs of every graph of a variant."""
    if not package.staged:
        return [(variant.file, _declared_inputs(package), _declared_outputs(package))]
    found = [
        (variant.stages[slot.name], _stage_inputs(slot), _features(f for f in package.features if f.slot == slot.name))
        for slot in package.inputs
    ]
    joined = package.feature(package.joins[0])
    side = (joined.size, joined.size)
    entries: Shapes = {
        "entries": (None, _ANY, joined.channels, *side),
        "days": (None, _ANY),
        "valid": (None, _ANY, *side),
    }
    return [*found, (variant.file, entries, _features(f for f in package.features if not f.slot))]


def _stage_inputs(slot: InputSlot) -> Shapes:
    shapes: Shapes = {slot.name: (None, len(slot.bands), slot.size, slot.size)}
    if slot.bands_input:
        shapes[slot.bands_input] = (None, len(slot.bands))
    return shapes


def _check_graph(package: Package, name: str, inputs: Shapes, outputs: Shapes, sizes: dict[str, int]) -> set[str]:
    """Check a graph against the declared inputs and outputs; returns the files its weights are in."""
    graph = onnx_graph.read_graph(package.path(name))
    onnx_graph.check_external(graph, sizes, name)
    _compare("inputs", graph.inputs, inputs, name)
    _compare("outputs", graph.outputs, outputs, name)
    return {item.location for item in graph.external}


def _compare(
    what: str, found: dict[str, tuple[int, onnx_graph.Shape]], declared: dict[str, onnx_graph.Shape], name: str
) -> None:
    if set(found) != set(declared):
        raise PackageError(
            f"the {what} of {name} are {_listed(found)}", f"{files.DOCUMENT} declares {_listed(declared)}"
        )
    for key, (kind, shape) in found.items():
        wanted = declared[key]
        fits = kind == onnx_graph.FLOAT32 and len(shape) == len(wanted)
        if not fits or any(one != other for one, other in zip(shape, wanted, strict=True) if _ANY not in (one, other)):
            raise PackageError(
                f'"{key}" among the {what} of {name} has the shape {_shape(shape)} (type {kind})',
                f"{files.DOCUMENT} declares float32 {_shape(wanted)}",
            )


def _declared_inputs(package: Package) -> Shapes:
    shapes: Shapes = {}
    for slot in package.inputs:
        image: onnx_graph.Shape = (len(slot.bands), slot.size, slot.size)
        shapes[slot.name] = (None, _ANY, *image) if slot.temporal else (None, *image)
        shapes.update({name: (None, _ANY) for name in (slot.days_input, slot.valid_input, slot.bands_input) if name})
    if package.kind == "head":
        shapes.update(_shapes(package.head_inputs))
    return shapes


def _declared_outputs(package: Package) -> Shapes:
    shapes: Shapes = {} if package.kind == "head" else _features(package.features)
    window = package.tiling.window
    for output in package.outputs:
        channels = len(output.classes) or _ANY
        on_grid = package.task in check.MAPS
        shapes[output.name] = (None, channels, window, window) if on_grid else (None, channels)
    return shapes


def _features(features: Iterable[Feature]) -> Shapes:
    return _shapes({feature.name: feature for feature in features})


def _shapes(features: Mapping[str, Feature]) -> Shapes:
    return {name: (None, f.channels, f.size, f.size) if f.size else (None, f.channels) for name, f in features.items()}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _shape(shape: onnx_graph.Shape) -> str:
    return "(" + ", ".join("any" if side in (None, _ANY) else str(side) for side in shape) + ")"
