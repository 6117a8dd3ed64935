"""The onnxruntime variants of a head: float32, and dynamic int8 where most weights are in matrix products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from torch import nn

from backend.manifest.package import Package, Variant
from backend.runtime.onnx_session import OnnxSession
from backend.runtime.packing.tolerances import Difference, with_tolerances
from backend.runtime.torch_session import TorchSession
from backend.train.export import export_onnx
from backend.train.export_stages import WeightPool, quantised

# Bytes from which weights lie beside their graph: what is inside is read and copied as a whole, what is outside mapped.
LARGEST_INSIDE = 64_000_000
# Convolutions stay in float32, which onnxruntime takes for heads without int8; a graph that shrinks less is not worth
# its place in the package.
MOST_OF_PLAIN = 0.75


def export_head(
    network: nn.Module,
    package: Package,
    feeds: Mapping[str, np.ndarray],
    folder: Path,
    precisions: Sequence[str] = ("fp32", "int8"),
) -> tuple[Package, dict[str, Path]]:
    """Graphs of a packaged head: batch dynamic, other sizes fixed.

    Args:
        network: in evaluation mode, on the CPU.
        package: its description.
        feeds: golden inputs in full size, see `backend.manifest.golden`.
        folder: where the graphs are written.
        precisions: "fp32", "int8".

    Returns:
        The description with the variants that stay close to torch in float32, and their files by name.
    """
    twice = {name: np.repeat(array, 2, axis=0) for name, array in feeds.items()}
    plain = export_onnx(network, twice, folder / "exported.onnx")
    expected = TorchSession(network).run(feeds)
    written, differences = {}, {}
    for precision in precisions:
        model = onnx.load(plain) if precision == "fp32" else quantised(plain)
        if precision == "int8" and model.ByteSize() > MOST_OF_PLAIN * plain.stat().st_size:
            continue
        written[precision] = _write(model, folder, precision)
        session = OnnxSession(written[precision][0], precision)
        differences["onnxruntime", precision] = Difference.between(session.run(feeds), expected)
        session.close()
    variants = [Variant("onnxruntime", precision, paths[0].name, 0.0) for precision, paths in written.items()]
    done = with_tolerances(replace(package, variants=(*variants, *package.variants)), differences, expected)
    kept = [variant.precision for variant in done.variants if variant.runtime == "onnxruntime"]
    return done, {path.name: path for precision in kept for path in written[precision]}


def _write(model: onnx.ModelProto, folder: Path, precision: str) -> list[Path]:
    """The graph, and its weights where they are large."""
    graph = folder / f"head-{precision}.onnx"
    paths = [graph]
    if model.ByteSize() > LARGEST_INSIDE:
        pool = WeightPool(folder / f"head-{precision}.data")
        pool.take(model)
        paths.append(pool.path)
    onnx.save(model, graph)
    return paths
