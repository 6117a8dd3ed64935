"""The onnxruntime variants of a staged encoder: a graph per stage, float32 and dynamic int8, weights in one file each.

Height, width and bands are fixed to the package's, the batch and the join's entries are dynamic. The stages share their
weights, and so do the graphs: what is alike lies once in one file of external data.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from backend.manifest.package import InputSlot, Package, Variant
from backend.models.stages import JOIN, Stage
from backend.protocol.errors import ParameterError
from backend.train.export import BATCH, export_onnx

# Below this many bytes a tensor stays in its graph: shapes, norms, biases.
SMALLEST_OUTSIDE = 4096
ALIGNMENT = 64  # bytes; a cache line
ENTRIES = torch.export.Dim("entries")


class WeightPool:
    """One file of external data for several graphs; equal tensors are stored once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[str, tuple[int, int]] = {}
        self._end = 0
        path.write_bytes(b"")

    def take(self, model: onnx.ModelProto) -> None:
        """Moves the large initializers of a graph into the file."""
        with self.path.open("ab") as file:
            for tensor in model.graph.initializer:
                content = numpy_helper.to_array(tensor).tobytes()
                if len(content) < SMALLEST_OUTSIDE:
                    continue
                key = hashlib.sha256(content).hexdigest()
                if key not in self._places:
                    padding = -self._end % ALIGNMENT
                    file.write(bytes(padding) + content)
                    self._places[key] = (self._end + padding, len(content))
                    self._end += padding + len(content)
                _point_outside(tensor, self.path.name, *self._places[key])


def _point_outside(tensor: onnx.TensorProto, location: str, offset: int, length: int) -> None:
    for field in ("raw_data", "float_data", "int32_data", "int64_data"):
        tensor.ClearField(field)
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)


def export_stages(
    network: nn.Module, package: Package, folder: Path, precisions: Sequence[str] = ("fp32", "int8")
) -> tuple[tuple[Variant, ...], dict[str, Path]]:
    """Graphs of every stage in every precision.

    Args:
        network: the staged network in evaluation mode, on the CPU.
        package: its description.
        folder: where the graphs are written; external data goes beside them.
        precisions: "fp32", "int8".

    Returns:
        The variants, tolerances yet open, and every file by name.
    """
    unknown = set(precisions) - {"fp32", "int8"}
    if unknown:
        raise ParameterError(f"there are no graphs in {', '.join(sorted(unknown))}", "", "choose fp32, int8 or both")
    files: dict[str, Path] = {}
    variants = []
    pools = {precision: WeightPool(folder / f"graphs-{precision}.data") for precision in precisions}
    stages = [slot.name for slot in package.inputs] + [JOIN]
    with tempfile.TemporaryDirectory() as scratch:
        for stage in stages:
            plain = _export(Stage(network, stage), _example(package, stage), Path(scratch) / f"{stage}.onnx")
            for precision in precisions:
                model = onnx.load(plain) if precision == "fp32" else quantised(plain)
                pools[precision].take(model)
                target = folder / _file(stage, precision)
                onnx.save(model, target)
                files[target.name] = target
    for precision, pool in pools.items():
        files[pool.path.name] = pool.path
        graphs = {slot.name: _file(slot.name, precision) for slot in package.inputs}
        variants.append(Variant("onnxruntime", precision, _file(JOIN, precision), 0.0, stages=graphs))
    return tuple(variants), files


def _file(stage: str, precision: str) -> str:
    return f"{stage}-{precision}.onnx"


def _example(package: Package, stage: str) -> dict[str, np.ndarray]:
    """Inputs of a stage with a batch of 2: a batch of 1 would be taken as fixed."""
    if stage != JOIN:
        slot: InputSlot = package.slot(stage)
        shapes: dict[str, tuple[int, ...]] = {stage: (2, len(slot.bands), slot.size, slot.size)}
        shapes |= {slot.bands_input: (2, len(slot.bands))} if slot.bands_input else {}
    else:
        joined = package.feature(package.joins[0])
        grid = (joined.size, joined.size)
        shapes = {"entries": (2, 3, joined.channels, *grid), "days": (2, 3), "valid": (2, 3, *grid)}
    return {name: np.ones(shape, np.float32) for name, shape in shapes.items()}


def _export(stage: Stage, example: Mapping[str, np.ndarray], path: Path) -> Path:
    axes: dict[int, Any] = {0: BATCH, 1: ENTRIES} if stage.name == JOIN else {0: BATCH}
    return export_onnx(stage, example, path, [axes] * len(example))


def quantised(plain: Path) -> onnx.ModelProto:
    """Weights of matrix products in int8, their inputs in uint8 with one scale per call.

    Weights take 7 bits: processors without VNNI add pairs of 8-bit products in 16 bits, which overflows with the eighth
    (measured on such a processor, one stage of a small SMARTIES: relative error 0.50 with 8 bits, 0.026 with 7).
    """
    target = plain.with_name(f"{plain.stem}-int8.onnx")
    model = onnx.load(plain)
    del model.graph.value_info[:]  # shapes that the exporter noted with symbols confuse the quantiser
    onnx.save(model, plain)
    quantize_dynamic(
        plain,
        target,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        reduce_range=True,
    )
    return onnx.load(target)
