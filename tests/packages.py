"""Tiny model packages for tests: real packages with real graphs, small enough to make in a moment.

Every builder takes the folder to put the package into (made when missing) and returns the loaded `Package`; its `root`
is what `--model` and `load()` take. All graphs have a dynamic batch, fixed height and width, float32, opset 17.
Defaults: modality "ms", bands named B1, B2, …, any sensor, unit "dn", no steps, fill 0. Keyword arguments that are not
listed go to `Package`; `slot=…` replaces fields of the input slot and `classes=…` the classes of the output, as in
`identity_package(tmp, slot={"fill": -1.0, "unit": "reflectance"}, title="x")`.
The `onnx` package is needed, so these builders are for the development environment only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from backend.manifest import golden
from backend.manifest.build import build
from backend.manifest.package import (
    BandNeed,
    ClassInfo,
    Feature,
    InputSlot,
    Output,
    Package,
    Tiling,
    Variant,
)

LICENCE = b"Made for tests; free for any use.\n"
COLORS = ("#1f78b4", "#33a02c", "#e31a1c", "#ff7f00", "#6a3d9a", "#b15928", "#a6cee3", "#b2df8a", "#fb9a99", "#fdbf6f")


def classes(count: int, first: int = 0) -> tuple[ClassInfo, ...]:
    """Classes with the values first, first + 1, …, names "class 0", "class 1", … and different colours."""
    return tuple(ClassInfo(first + k, f"class {first + k}", COLORS[k % len(COLORS)]) for k in range(count))


def identity_package(
    folder: Path,
    bands: int = 1,
    window: int = 64,
    *,
    name: str = "identity",
    margin: int = 0,
    multiple: int = 1,
    slot: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Package:
    """Score of class k = normalised value of band k; activation identity, `bands` classes."""
    nodes = [helper.make_node("Identity", ["image"], ["scores"])]
    package = _bundle(name, bands, bands, Tiling(window, multiple, margin), slot, fields)
    return _finish(folder, package, nodes, [])


def constant_package(
    folder: Path,
    scores: Sequence[float] = (0.2, 0.5, 0.3),
    bands: int = 1,
    window: int = 64,
    *,
    name: str = "constant",
    margin: int = 0,
    multiple: int = 1,
    slot: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Package:
    """Score of class k = scores[k] at every pixel, whatever the (finite) input; activation identity."""
    weight = np.zeros((len(scores), bands, 1, 1), np.float32)
    nodes = [helper.make_node("Conv", ["image", "w", "b"], ["scores"])]
    package = _bundle(name, bands, len(scores), Tiling(window, multiple, margin), slot, fields)
    return _finish(folder, package, nodes, [_tensor("w", weight), _tensor("b", np.asarray(scores, np.float32))])


def threshold_package(
    folder: Path,
    thresholds: Sequence[float] = (0.5,),
    bands: int = 1,
    window: int = 64,
    *,
    name: str = "threshold",
    margin: int = 0,
    multiple: int = 1,
    slot: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Package:
    """Class = how many of the rising `thresholds` band 1 exceeds; one-hot scores, activation identity."""
    count = len(thresholds) + 1
    weight = np.zeros((count, count - 1, 1, 1), np.float32)
    for k in range(count):
        if k > 0:
            weight[k, k - 1] = 1
        if k < count - 1:
            weight[k, k] = -1
    bias = np.eye(1, count, dtype=np.float32)[0]
    nodes = [
        helper.make_node("Slice", ["image", "zero", "one", "one"], ["first"]),
        helper.make_node("Greater", ["first", "t"], ["above"]),
        helper.make_node("Cast", ["above"], ["steps"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["steps", "w", "b"], ["scores"]),
    ]
    tensors = [
        _tensor("t", np.asarray(thresholds, np.float32).reshape(1, -1, 1, 1)),
        _tensor("w", weight),
        _tensor("b", bias),
        _tensor("zero", np.array([0], np.int64)),
        _tensor("one", np.array([1], np.int64)),
    ]
    package = _bundle(name, bands, count, Tiling(window, multiple, margin), slot, fields)
    return _finish(folder, package, nodes, tensors)


def conv_package(
    folder: Path,
    count: int = 10,
    bands: int = 4,
    window: int = 256,
    *,
    width: int = 8,
    name: str = "light-net",
    margin: int = 16,
    multiple: int = 1,
    activation: str = "identity",
    seed: int = 1,
    slot: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Package:
    """Three 3x3 convolutions, random weights; "identity" has the softmax in the graph, "softmax" leaves it out."""
    rng = np.random.default_rng(seed)
    sizes = [bands, width, width, count]
    nodes, tensors, last = [], [], "image"
    for k in range(3):
        weight = rng.normal(0, (2 / (9 * sizes[k])) ** 0.5, (sizes[k + 1], sizes[k], 3, 3)).astype(np.float32)
        tensors += [_tensor(f"w{k}", weight), _tensor(f"b{k}", np.zeros(sizes[k + 1], np.float32))]
        result = f"conv{k}" if k < 2 or activation == "identity" else "scores"
        nodes.append(helper.make_node("Conv", [last, f"w{k}", f"b{k}"], [result], pads=[1, 1, 1, 1]))
        last = result
        if k < 2:
            nodes.append(helper.make_node("Relu", [last], [f"relu{k}"]))
            last = f"relu{k}"
    if activation == "identity":
        nodes.append(helper.make_node("Softmax", [last], ["scores"], axis=1))
    package = _bundle(name, bands, count, Tiling(window, multiple, margin), slot, fields, activation)
    return _finish(folder, package, nodes, tensors)


def two_sensor_package(
    folder: Path,
    window: int = 64,
    *,
    name: str = "two-sensors",
    sar_required: bool = True,
    margin: int = 0,
    multiple: int = 1,
    **fields: Any,
) -> Package:
    """Inputs "ms" (B1, B2; dn) and "sar" (VV, VH; dB): score of class 0 = B1, of class 1 = VV; activation identity."""
    tiling = Tiling(window, multiple, margin)
    sar = InputSlot(
        "sar", "sar", (), tuple(BandNeed(p, polarisation=p) for p in ("VV", "VH")), "db", window, required=sar_required
    )
    package = _bundle(name, 2, 2, tiling, {"name": "ms"}, fields)
    package = replace(package, inputs=(*package.inputs, sar))
    nodes = [
        helper.make_node("Slice", ["ms", "zero", "one", "one"], ["b1"]),
        helper.make_node("Slice", ["sar", "zero", "one", "one"], ["vv"]),
        helper.make_node("Concat", ["b1", "vv"], ["scores"], axis=1),
    ]
    tensors = [_tensor("zero", np.array([0], np.int64)), _tensor("one", np.array([1], np.int64))]
    return _finish(folder, package, nodes, tensors)


def series_package(
    folder: Path,
    bands: int = 1,
    window: int = 64,
    *,
    name: str = "series",
    dates: tuple[int, int] = (1, 12),
    margin: int = 0,
    multiple: int = 1,
    slot: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Package:
    """Score of class k = mean of band k over all dates; input (B, T, C, H, W), activation identity."""
    package = _bundle(
        name, bands, bands, Tiling(window, multiple, margin), {"dates": dates, "temporal": True, **(slot or {})}, fields
    )
    nodes = [helper.make_node("ReduceMean", ["image"], ["scores"], axes=[1], keepdims=0)]
    return _finish(folder, package, nodes, [])


def encoder_and_heads(
    folder: Path,
    n_heads: int = 2,
    bands: int = 3,
    window: int = 64,
    *,
    stride: int = 4,
    channels: int = 8,
    count: int = 3,
    margin: int = 0,
    seed: int = 1,
) -> tuple[Package, list[Package]]:
    """An encoder with the feature "map" and heads of `count` classes that belong to it; softmax left to the engine."""
    rng = np.random.default_rng(seed)
    tiling = Tiling(window, stride, margin)
    features = (Feature("map", channels, window // stride),)
    encoder = replace(
        _bundle("tiny-encoder", bands, 1, tiling, None, {}), kind="encoder", task="embed", outputs=(), features=features
    )
    weight = rng.normal(0, 0.3, (channels, bands, stride, stride)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["image", "w"], ["map"], strides=[stride, stride])]
    encoder = _finish(folder, encoder, nodes, [_tensor("w", weight)])
    heads = []
    for k in range(n_heads):
        head = replace(
            _bundle(f"tiny-head-{k + 1}", bands, count, tiling, None, {}, "softmax"),
            kind="head",
            inputs=(),
            features=features,
            encoder=encoder.digest,
        )
        weight = rng.normal(0, 0.5, (count * stride * stride, channels, 1, 1)).astype(np.float32)
        nodes = [
            helper.make_node("Conv", ["map", "w"], ["mixed"]),
            helper.make_node("DepthToSpace", ["mixed"], ["scores"], blocksize=stride),
        ]
        heads.append(_finish(folder, head, nodes, [_tensor("w", weight)]))
    return encoder, heads


def graph_bytes(package: Package, nodes: Sequence[Any], tensors: Sequence[Any], opset: int = 17) -> bytes:
    """Serialised ONNX graph with the inputs and outputs the package declares."""
    window = package.tiling.window
    inputs = [
        _value(slot.name, ["batch", *(["dates"] if slot.temporal else []), len(slot.bands), slot.size, slot.size])
        for slot in package.inputs
    ]
    features = [_value(f.name, ["batch", f.channels, f.size, f.size]) for f in package.features]
    outputs = [_value(output.name, ["batch", len(output.classes), window, window]) for output in package.outputs]
    if package.kind == "head":
        inputs = features
    else:
        outputs = outputs + features
    graph = helper.make_graph(list(nodes), package.name, inputs, outputs, initializer=list(tensors))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def golden_patches(package: Package, seed: int = 0) -> dict[str, np.ndarray]:
    """Random golden input patches (1, C, 16, 16) for every image or feature the package takes; series get two dates."""
    rng = np.random.default_rng(seed)
    shapes = {slot.name: (1, *((2,) if slot.temporal else ()), len(slot.bands), 16, 16) for slot in package.inputs}
    if package.kind == "head":
        shapes = {f.name: (1, f.channels, 4, 4) for f in package.features}
    return {name: rng.normal(0, 1, shape).astype(np.float32) for name, shape in shapes.items()}


def run_graph(content: bytes | str, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of an ONNX graph (bytes or file name) by onnxruntime on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def _bundle(
    name: str,
    bands: int,
    count: int,
    tiling: Tiling,
    slot: Mapping[str, Any] | None,
    fields: Mapping[str, Any],
    activation: str = "identity",
) -> Package:
    needs = tuple(BandNeed(f"B{k + 1}") for k in range(bands))
    image = InputSlot("image", "ms", (), needs, "dn", tiling.window)
    output = Output("scores", activation, fields.get("classes", classes(count)))
    package = Package(
        Path(),
        name,
        "1.0.0",
        f"{name} for tests",
        "bundle",
        "segment",
        tiling,
        (Variant("onnxruntime", "fp32", "model.onnx", 1e-4),),
        inputs=(replace(image, **(slot or {})),),
        outputs=(output,),
        licence="CC0-1.0",
        attribution="EarthPrism tests",
    )
    return replace(package, **{key: value for key, value in fields.items() if key != "classes"})


def _finish(folder: Path, package: Package, nodes: Sequence[Any], tensors: Sequence[Any]) -> Package:
    # Graphs are written for an input called "image"; a slot may have been renamed.
    if package.inputs and not any(slot.name == "image" for slot in package.inputs):
        for node in nodes:
            node.input[:] = [package.inputs[0].name if part == "image" else part for part in node.input]
    content = graph_bytes(package, nodes, tensors)
    patches = golden_patches(package)
    outputs = run_graph(content, golden.expand_all(package, patches))
    return build(package, {"model.onnx": content, "LICENSE": LICENCE}, patches, outputs, folder)


def _tensor(name: str, values: np.ndarray) -> Any:
    return numpy_helper.from_array(values, name)


def _value(name: str, shape: Sequence[int | str]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def staged_encoder(folder: Path, *, name: str = "staged", slots: Mapping[str, Any] | None = None) -> Package:
    """A staged encoder whose features can be computed by hand; all its maps have 4 x 4 positions and 2 channels.

    "hr" (B1; 32 px): `hr_map` = means of 8 x 8 px, and 0. "ms" (B1, B2; 8 px; up to 3 dates; bands may lack):
    `ms_map` = means of 2 x 2 px, 0 for a band that lacks. `fused` = mean over the valid entries; `image` = mean of
    `fused` over positions plus the mean of the days. `slots` replaces fields of both inputs.
    """
    hr = InputSlot("hr", "hr", (), (BandNeed("B1"),), "dn", 32, required=False, valid_input="hr_valid")
    ms = InputSlot(
        "ms", "ms", (), (BandNeed("B1"), BandNeed("B2")), "dn", 8, dates=(1, 3), temporal=True, required=False,
        days_input="ms_days", valid_input="ms_valid", bands_input="ms_bands",
    )  # fmt: skip
    hr, ms = (replace(slot, **(slots or {})) for slot in (hr, ms))
    stages = {"hr": "hr.onnx", "ms": "ms.onnx"}
    package = replace(
        _bundle(name, 1, 1, Tiling(32, 8, 0), None, {}),
        kind="encoder",
        task="embed",
        inputs=(hr, ms),
        outputs=(),
        features=(
            Feature("hr_map", 2, 4, "hr"),
            Feature("ms_map", 2, 4, "ms"),
            Feature("fused", 2, 4),
            Feature("image", 2, 0),
        ),
        joins=("hr_map", "ms_map"),
        variants=(Variant("onnxruntime", "fp32", "join.onnx", 1e-4, stages=stages),),
    )
    node, maps = helper.make_node, ["batch", 2, 4, 4]
    numbers = {"zero": np.array(0, np.float32), "least": np.array(1e-6, np.float32)}
    axes = {"axes1": np.array([1], np.int64), "axes2": np.array([2], np.int64), "axes23": np.array([2, 3], np.int64)}
    graphs = {
        "hr.onnx": _graph(
            [
                node("AveragePool", ["hr"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
                node("Mul", ["pooled", "zero"], ["nothing"]),
                node("Concat", ["pooled", "nothing"], ["hr_map"], axis=1),
            ],
            {"hr": ["batch", 1, 32, 32]}, {"hr_map": maps}, numbers, ("zero",),
        ),
        "ms.onnx": _graph(
            [
                node("Unsqueeze", ["ms_bands", "axes23"], ["there"]),
                node("Mul", ["ms", "there"], ["known"]),
                node("AveragePool", ["known"], ["ms_map"], kernel_shape=[2, 2], strides=[2, 2]),
            ],
            {"ms": ["batch", 2, 8, 8], "ms_bands": ["batch", 2]}, {"ms_map": maps}, axes, ("axes23",),
        ),
        "join.onnx": _graph(
            [
                node("Unsqueeze", ["valid", "axes2"], ["weights"]),
                node("Mul", ["entries", "weights"], ["weighted"]),
                node("ReduceSum", ["weighted", "axes1"], ["total"], keepdims=0),
                node("ReduceSum", ["weights", "axes1"], ["count"], keepdims=0),
                node("Max", ["count", "least"], ["divisor"]),
                node("Div", ["total", "divisor"], ["fused"]),
                node("ReduceMean", ["fused"], ["mean"], axes=[2, 3], keepdims=0),
                node("ReduceMean", ["days"], ["day"], axes=[1], keepdims=1),
                node("Add", ["mean", "day"], ["image"]),
            ],
            {"entries": ["batch", "n", 2, 4, 4], "days": ["batch", "n"], "valid": ["batch", "n", 4, 4]},
            {"fused": maps, "image": ["batch", 2]}, {**axes, **numbers}, ("axes1", "axes2", "least"),
        ),
    }  # fmt: skip
    rng = np.random.default_rng(0)
    patches = {
        "hr": rng.normal(0, 1, (1, 1, 8, 8)), "hr_valid": np.ones((1, 1, 4, 4)),
        "ms": rng.normal(0, 1, (1, 2, 2, 4, 4)),
        "ms_days": np.array([[10, 50]]), "ms_valid": np.ones((1, 2, 4, 4)), "ms_bands": np.ones((1, 2)),
    }  # fmt: skip
    patches = {key: values.astype(np.float32) for key, values in patches.items()}
    feeds = golden.expand_all(package, patches)
    hr_map = run_graph(graphs["hr.onnx"], {"hr": feeds["hr"]})["hr_map"]
    dated = {"ms": feeds["ms"][0], "ms_bands": np.ones((2, 2), np.float32)}
    ms_map = run_graph(graphs["ms.onnx"], dated)["ms_map"]
    joined = {
        "entries": np.concatenate([hr_map, ms_map])[None],
        "days": np.array([[0, 10, 50]], np.float32),
        "valid": np.ones((1, 3, 4, 4), np.float32),
    }
    outputs = {"hr_map": hr_map, "ms_map": ms_map.mean(axis=0)[None], **run_graph(graphs["join.onnx"], joined)}
    return build(package, {**graphs, "LICENSE": LICENCE}, patches, outputs, folder)


def pyramid_encoder(folder: Path, window: int = 64, *, name: str = "pyramid") -> Package:
    """An encoder of one image of 3 bands: maps `p4`, `p8`, `p16`, `p32`, the means of so many pixels, and `mean`."""
    strides = {f"p{stride}": stride for stride in (4, 8, 16, 32)}
    package = replace(
        _bundle(name, 3, 1, Tiling(window, 32, 8), None, {}),
        kind="encoder",
        task="embed",
        outputs=(),
        features=(*(Feature(key, 3, window // stride) for key, stride in strides.items()), Feature("mean", 3, 0)),
    )
    nodes = [
        helper.make_node("AveragePool", ["image"], [key], kernel_shape=[stride] * 2, strides=[stride] * 2)
        for key, stride in strides.items()
    ]
    nodes.append(helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0))
    shapes = {feature.name: ["batch", 3, *([feature.size] * 2 if feature.size else [])] for feature in package.features}
    graph = _graph(nodes, {"image": ["batch", 3, window, window]}, shapes, {}, ())
    patches = {"image": np.random.default_rng(0).normal(0, 1, (1, 3, 19, 19)).astype(np.float32)}
    outputs = run_graph(graph, golden.expand_all(package, patches))
    return build(package, {"model.onnx": graph, "LICENSE": LICENCE}, patches, outputs, folder)


def change_head(folder: Path, encoder: Package, *, semantic: bool = False, name: str = "change") -> Package:
    """A change head on `p8` of `pyramid_encoder`, at its window; nothing is left to chance.

    Its scores are 1 - d and d with d = |mean of the later map's channels - mean of the earlier one's|. With `semantic`
    it gives the first two channels of both maps, as logits of the classes 0 and 1, and 1 where their order differs.
    """
    feature, window = encoder.feature("p8"), encoder.tiling.window
    outputs: tuple[Output, ...] = (Output("scores", "identity", classes(2)),)
    if semantic:
        outputs = tuple(Output(moment, "softmax", classes(2)) for moment in ("before", "after"))
        outputs = (*outputs, Output("changed", "identity", classes(1, 1), (0.5,)))
    package = replace(
        _bundle(name, 3, 2, encoder.tiling, None, {}),
        kind="head", task="change", inputs=(), features=(feature,), encoder=encoder.digest, outputs=outputs,
    )  # fmt: skip
    node, names = helper.make_node, ("before", "after")
    enlarge = {"kernel_shape": [8, 8], "strides": [8, 8]}
    if semantic:
        nodes = [node("ConvTranspose", [f"{m}_p8", "first"], [m], **enlarge) for m in names]
        nodes += [node("ArgMax", [m], [f"{m}_class"], axis=1) for m in names]
        nodes += [
            node("Equal", ["before_class", "after_class"], ["same"]),
            node("Not", ["same"], ["differs"]),
            node("Cast", ["differs"], ["changed"], to=TensorProto.FLOAT),
        ]
    else:
        nodes = [node("ConvTranspose", [f"{m}_p8", "mean"], [f"{m}_mean"], **enlarge) for m in names]
        nodes += [
            node("Sub", ["after_mean", "before_mean"], ["step"]),
            node("Abs", ["step"], ["distance"]),
            node("Sub", ["one", "distance"], ["sameness"]),
            node("Concat", ["sameness", "distance"], ["scores"], axis=1),
        ]
    tensors = {
        "first": np.ones((3, 2, 8, 8), np.float32) * np.eye(3, 2, dtype=np.float32)[:, :, None, None],
        "mean": np.full((3, 1, 8, 8), 1 / 3, np.float32),
        "one": np.array(1, np.float32),
    }
    graph = _graph(
        nodes,
        {name: ["batch", 3, feature.size, feature.size] for name in package.head_inputs},
        {output.name: ["batch", len(output.classes), window, window] for output in outputs},
        tensors,
        ("first",) if semantic else ("mean", "one"),
    )
    rng = np.random.default_rng(0)
    patches = {name: rng.normal(0, 1, (1, 3, 3, 3)).astype(np.float32) for name in package.head_inputs}
    found = run_graph(graph, golden.expand_all(package, patches))
    return build(package, {"model.onnx": graph, "LICENSE": LICENCE}, patches, found, folder)


def _graph(
    nodes: Sequence[Any],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str]],
    tensors: Mapping[str, np.ndarray],
    used: Sequence[str],
) -> bytes:
    shapes = [[_value(name, shape) for name, shape in part.items()] for part in (inputs, outputs)]
    initializers = [_tensor(name, tensors[name]) for name in used]
    graph = helper.make_graph(list(nodes), "stage", *shapes, initializer=initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
