"""Golden data: small inputs and outputs that show whether a model computes what it did when it was packed.

A window of twelve bands would already be larger than a package may spend, so the file holds an image patch that is
repeated until the input is filled, and outputs sampled at evenly spaced positions. Tensors are named `input/NAME` and
`output/NAME`; any other axis than the last two is stored whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.manifest import files, tensors
from backend.manifest.package import InputSlot, Package
from backend.protocol.errors import PackageError

Arrays = dict[str, NDArray[np.float32]]
PATCH = 32  # pixels per side of the stored patch: two tokens of 16 pixels


def read(package: Package) -> tuple[Arrays, Arrays]:
    """Full inputs of the graph, and stored (sampled) outputs, by name."""
    stored = tensors.read_tensors(package.path(package.golden))
    inputs = {name: stored[f"input/{name}"] for name in input_names(package)}
    outputs = {name: stored[f"output/{name}"] for name in output_names(package)}
    return expand_all(package, inputs), {name: as_float(array) for name, array in outputs.items()}


def expand_all(package: Package, patches: Mapping[str, NDArray[Any]]) -> Arrays:
    """What the graph is fed: patches repeated to the size each input declares, everything else as it is."""
    known = sides(package)
    return {name: expand(array, known[name]) if name in known else as_float(array) for name, array in patches.items()}


def check(package: Package, sizes: Mapping[str, int]) -> None:
    """Raise PackageError unless the golden file is small, complete and fits the declared inputs."""
    if sizes.get(package.golden, 0) > files.LARGEST_GOLDEN:
        raise PackageError(
            f"{package.golden} is too large", f"{sizes[package.golden]} of at most {files.LARGEST_GOLDEN} bytes"
        )
    infos = tensors.read_header(package.path(package.golden))
    expected = {f"input/{name}" for name in input_names(package)} | {f"output/{name}" for name in output_names(package)}
    for name in sorted(expected ^ set(infos)):
        problem = "lacks" if name in expected else "has the unexpected"
        raise PackageError(
            f'{package.golden} {problem} tensor "{name[:80]}"', "golden data hold each input and output, nothing else"
        )
    for name, info in infos.items():
        if info.dtype not in ("F32", "F16"):
            raise PackageError(f'the golden tensor "{name}" has the type {info.dtype}', "F32 or F16 is needed")
    for name, (axes, channels, side) in _expected(package).items():
        shape = infos[f"input/{name}"].shape
        fits = len(shape) == axes and 0 not in shape and shape[axes - 3 if side else 1] == channels
        if not fits or (side and max(shape[-2:]) > side):
            raise PackageError(
                f'the golden tensor "input/{name}" has the shape {list(shape)}',
                f"{axes} axes with {channels} channels of at most {side} x {side} values are declared",
            )
    for name, allowed in _beside_images(package, {name: info.shape for name, info in infos.items()}).items():
        shape = infos[f"input/{name}"].shape
        if shape not in allowed:
            raise PackageError(
                f'the golden tensor "input/{name}" has the shape {list(shape)}',
                f"beside its image it must have {' or '.join(str(list(one)) for one in allowed)}",
            )


def _beside_images(package: Package, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, list[tuple[int, ...]]]:
    """Shapes that days, validity and bands may have beside the golden images."""
    found: dict[str, list[tuple[int, ...]]] = {}
    for slot in package.inputs:
        image = shapes[f"input/{slot.name}"]
        by_date = (image[0], image[1] if slot.temporal else 1)
        if slot.days_input:
            found[slot.days_input] = [by_date]
        if slot.valid_input:
            side = package.feature(package.joins[0]).size if package.staged else 0
            found[slot.valid_input] = [by_date, *([(*by_date, side, side)] if side else [])]
        if slot.bands_input:
            found[slot.bands_input] = [(image[0], len(slot.bands))]
    return found


def pack(inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]], samples: int = 16) -> Arrays:
    """The tensors to store: inputs as given (patches), outputs sampled at `samples` x `samples` positions at most."""
    stored = {f"input/{name}": as_float(array) for name, array in inputs.items()}
    for name, array in outputs.items():
        stored[f"output/{name}"] = as_float(sample(array, tuple(min(samples, side) for side in array.shape[2:])))
    return stored


def expand(patch: NDArray[Any], side: int) -> NDArray[np.float32]:
    """A patch (..., h, w) repeated to (..., side, side)."""
    rows, cols = (np.arange(side) % length for length in patch.shape[-2:])
    return as_float(patch[..., rows[:, None], cols])


def sample(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Values of (B, C, H, W) at evenly spaced positions, giving (B, C, *shape); what is no map is kept."""
    if array.ndim != 4:
        return array
    rows, cols = (
        np.floor((np.arange(few) + 0.5) * many / few).astype(int)
        for few, many in zip(shape, array.shape[-2:], strict=True)
    )
    return array[..., rows[:, None], cols]


def input_names(package: Package) -> list[str]:
    """Everything the graph takes: images, days and gaps of series, or features for a head."""
    if package.kind == "head":
        return list(package.head_inputs)
    return [name for slot in package.inputs for name in graph_inputs(slot)]


def graph_inputs(slot: InputSlot) -> list[str]:
    """The image of a slot, and what its graph or the join is told beside it."""
    return [name for name in (slot.name, slot.days_input, slot.valid_input, slot.bands_input) if name]


def output_names(package: Package) -> list[str]:
    """Everything the graph gives."""
    features = [feature.name for feature in package.features] if package.kind != "head" else []
    return [output.name for output in package.outputs] + features


def as_float(array: NDArray[Any]) -> NDArray[np.float32]:
    """Contiguous float32."""
    return np.ascontiguousarray(array, dtype=np.float32)


def sides(package: Package) -> dict[str, int]:
    """Pixels (or positions) per side of each image or feature map the graph takes; vectors are left out."""
    return {name: side for name, (_, _, side) in _expected(package).items() if side}


def _expected(package: Package) -> dict[str, tuple[int, int, int]]:
    """Axes, channels and side (0 for vectors) of each image or feature the graph takes."""
    if package.kind != "head":
        return {slot.name: (5 if slot.temporal else 4, len(slot.bands), slot.size) for slot in package.inputs}
    return {name: (4 if f.size else 2, f.channels, f.size) for name, f in package.head_inputs.items()}
