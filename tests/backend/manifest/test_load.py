"""Loading packages from folders: what is good comes back whole, everything hostile is refused and named."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper
from safetensors.numpy import save

from backend.manifest import check, golden, onnx_graph, tensors
from backend.manifest.build import build, write_sums, zip_package
from backend.manifest.load import load, load_folder
from backend.manifest.package import Package, Variant
from backend.protocol.errors import PackageError
from tests.packages import (
    LICENCE,
    constant_package,
    conv_package,
    encoder_and_heads,
    golden_patches,
    graph_bytes,
    identity_package,
    run_graph,
    series_package,
    threshold_package,
    two_sensor_package,
)

BINARY = "application/octet-stream"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return identity_package(tmp_path_factory.mktemp("good"), bands=2, window=32)


@pytest.fixture
def copy(good: Package, tmp_path: Path) -> Path:
    """A copy of a good package to spoil."""
    return Path(shutil.copytree(good.root, tmp_path / good.root.name))


def _resealed(root: Path) -> None:
    """Bring sizes in model.json and the digests in line with changed files, as a careful attacker would."""
    content = json.loads((root / "model.json").read_text())
    for name, asset in content["assets"].items():
        asset["file:size"] = (root / name).stat().st_size
    (root / "model.json").write_text(json.dumps(content))
    write_sums(root)


def _refused(root: Path, *named: str) -> str:
    with pytest.raises(PackageError) as caught:
        load_folder(root)
    for text in named:
        assert text in str(caught.value)
    return str(caught.value)


def test_every_kind_of_package_loads_as_it_was_built(tmp_path: Path) -> None:
    built = [
        identity_package(tmp_path, 3, 16),
        constant_package(tmp_path, window=16),
        threshold_package(tmp_path, (0.2, 0.5), window=16),
        conv_package(tmp_path, window=64),
        two_sensor_package(tmp_path, 16),
        series_package(tmp_path, window=16),
    ]
    encoder, heads = encoder_and_heads(tmp_path, 2, window=16)
    for package in [*built, encoder, *heads]:
        assert load(package.root) == package
        assert len(package.digest) == 64
    for head in heads:
        check.check_head(head, encoder)
    other = replace(encoder, digest="0" * 64)
    with pytest.raises(PackageError, match="does not belong"):
        check.check_head(heads[0], other)


def test_building_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = conv_package(tmp_path / "a"), conv_package(tmp_path / "b")
    first, second = zip_package(one, tmp_path / "one.zip"), zip_package(two, tmp_path / "two.zip")
    assert one.digest == two.digest
    assert first.read_bytes() == second.read_bytes()


def test_golden_data_are_what_the_graph_gives(tmp_path: Path) -> None:
    package = conv_package(tmp_path, count=3, window=64)
    inputs, outputs = golden.read(package)
    assert inputs["image"].shape == (1, 4, 64, 64)
    assert np.array_equal(inputs["image"][..., :16, :16], inputs["image"][..., 16:32, 16:32])  # a repeated patch
    found = run_graph(str(package.path("model.onnx")), inputs)
    for name, samples in outputs.items():
        assert np.abs(golden.sample(found[name], samples.shape[2:]) - samples).max() <= 1e-6


# Files


def test_wrong_digest(copy: Path) -> None:
    (copy / "LICENSE").write_bytes(LICENCE.replace(b"M", b"N"))
    _refused(copy, "LICENSE", "sha256")
    load_folder(copy, digests=False)  # a listing does not read the weights


def test_extra_file(copy: Path) -> None:
    (copy / "notes.md").write_text("x")
    _refused(copy, "extra", "notes.md")


def test_missing_file(copy: Path) -> None:
    (copy / "model.onnx").unlink()
    _refused(copy, "lacks", "model.onnx")


@pytest.mark.parametrize("name", ["LICENSE", "SHA256SUMS", "model.json"])
def test_missing_required_file(copy: Path, name: str) -> None:
    (copy / name).unlink()
    _refused(copy, f"has no {name}")


def test_file_that_nothing_uses(copy: Path, good: Package) -> None:
    (copy / "other.onnx").write_bytes((copy / "model.onnx").read_bytes())
    content = json.loads((copy / "model.json").read_text())
    content["assets"]["other.onnx"] = {**content["assets"]["LICENSE"], "href": "./other.onnx", "type": BINARY}
    (copy / "model.json").write_text(json.dumps(content))
    _resealed(copy)
    _refused(copy, "other.onnx", "nothing in it uses")


@pytest.mark.parametrize(
    "name", ["weights.pkl", "model.pt", "model.pth", "weights.bin", "x.npz", "x.npy", "x.ckpt", "x.joblib", "X.PKL"]
)
def test_pickle_like_files(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"x")
    _refused(copy, name, "code")


@pytest.mark.parametrize("name", ["run.py", "hook.sh", "lib.so", "model", "a.onnx.exe", "page.html"])
def test_files_that_do_not_belong(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"x")
    _refused(copy, name, "belong")


@pytest.mark.parametrize(
    "name", [".hidden.md", "-rf.md", "a b.md", "é.md", "con.md", "NUL.png", "a\nb.md", "a" * 101 + ".md"]
)
def test_unsafe_names(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"x")
    _refused(copy, "unsafe name")


def test_names_that_differ_in_case(copy: Path) -> None:
    (copy / "a.md").write_bytes(b"x")
    (copy / "A.md").write_bytes(b"x")
    if len(list(copy.glob("[aA].md"))) < 2:
        pytest.skip("this file system does not tell case apart")
    _refused(copy, "a.md", "A.md", "same file")


def test_links_folders_and_special_files(copy: Path, tmp_path: Path) -> None:
    link = copy / "model.onnx"
    link.rename(tmp_path / "elsewhere.onnx")
    link.symlink_to(tmp_path / "elsewhere.onnx")
    _refused(copy, "a link", "model.onnx")
    link.unlink()
    (copy / "sub").mkdir()
    _refused(copy, "a folder", "sub")
    (copy / "sub").rmdir()
    os.mkfifo(copy / "pipe.md")
    _refused(copy, "a special file", "pipe.md")


def test_too_many_files(copy: Path) -> None:
    for number in range(101):
        (copy / f"{number}.md").write_bytes(b"")
    _refused(copy, "too many files")


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("0" * 64 + "  ../outside.md", "unsafe name"),
        ("0" * 64 + "  /etc/passwd", "unsafe name"),
        ("0" * 64 + " *model.onnx", "malformed"),
        ("0" * 63 + "  model.onnx", "malformed"),
        ("0" * 64 + "  model.onnx", "model.onnx"),
        ("0" * 64 + "  SHA256SUMS", "SHA256SUMS"),
    ],
)
def test_hostile_sums(copy: Path, line: str, named: str) -> None:
    with (copy / "SHA256SUMS").open("a") as file:
        file.write(line + "\n")
    _refused(copy, named)


def test_no_package_at_all(tmp_path: Path) -> None:
    _refused(tmp_path, "has no model.json")
    with pytest.raises(PackageError, match="cannot be read"):
        load_folder(tmp_path / "nowhere")
    with pytest.raises(PackageError, match="there is no model package"):
        load("no-such-model")


def test_document_too_large(copy: Path) -> None:
    (copy / "model.json").write_text(" " * (1 << 20) + "{}")
    _refused(copy, "model.json is too large")


def test_duplicate_key_in_the_document(copy: Path) -> None:
    text = (copy / "model.json").read_text()
    (copy / "model.json").write_text(text.replace('"id":', '"id": "a", "id":', 1))
    write_sums(copy)
    _refused(copy, '"id" is there twice')


def test_document_of_schema_one_loads(copy: Path, good: Package) -> None:
    content = json.loads((copy / "model.json").read_text())
    (content["properties"]["earthprism:output"],) = content["properties"].pop("earthprism:outputs")
    content["properties"]["earthprism:schema"] = 1
    (copy / "model.json").write_text(json.dumps(content))
    write_sums(copy)
    assert replace(load_folder(copy), root=good.root, digest=good.digest) == good


def test_declared_variant_without_its_file(good: Package, tmp_path: Path) -> None:
    package = replace(good, variants=(*good.variants, Variant("onnxruntime", "int8", "small.onnx", 0.1)))
    inputs = golden_patches(good)
    parts = {"model.onnx": good.path("model.onnx"), "LICENSE": LICENCE}
    with pytest.raises(PackageError, match=r'lacks the file "small\.onnx"'):
        build(package, parts, inputs, {"scores": np.zeros((1, 2, 32, 32))}, tmp_path)
    assert list(tmp_path.iterdir()) == []


# Golden data and safetensors


def _golden(root: Path, arrays: dict[str, np.ndarray]) -> None:
    (root / "golden.safetensors").write_bytes(save(arrays))
    _resealed(root)


PATCH, SCORES = np.zeros((1, 2, 16, 16), np.float32), np.zeros((1, 2, 16, 16), np.float32)


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"input/image": PATCH}, '"output/scores"'),
        ({"input/image": PATCH, "output/scores": SCORES, "input/other": PATCH}, '"input/other"'),
        ({"input/image": PATCH[:, :1], "output/scores": SCORES}, "[1, 1, 16, 16]"),
        ({"input/image": np.zeros((1, 2, 64, 64), np.float32), "output/scores": SCORES}, "[1, 2, 64, 64]"),
        ({"input/image": PATCH[0], "output/scores": SCORES}, "4 axes"),
        ({"input/image": PATCH[:0], "output/scores": SCORES}, "[0, 2, 16, 16]"),
        ({"input/image": PATCH.astype(np.int32), "output/scores": SCORES}, "I32"),
        ({"input/image": PATCH, "output/scores": np.zeros((7, 2, 64, 64), np.float32)}, "too large"),
    ],
)
def test_golden_data_that_do_not_fit(copy: Path, arrays: dict[str, np.ndarray], named: str) -> None:
    _golden(copy, arrays)
    _refused(copy, "golden", named)


def _raw(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def _entry(shape: Any = (1,), dtype: Any = "F32", offsets: Any = (0, 4), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def _tensors(data: int = 4, **entries: Any) -> bytes:
    return _raw(json.dumps(entries).encode(), bytes(data))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "not a safetensors file"),
        (b"\x80\x04\x95pickled", "not a safetensors file"),
        (struct.pack("<Q", 1 << 60) + b"{}", "not a safetensors file"),
        (_raw(b" " * (17 << 20)), "not a safetensors file"),
        (_raw(b"[]"), "not a safetensors file"),
        (_raw(b'{"a": NaN}'), "NaN"),
        (_raw(b'{"a": {}, "a": {}}'), '"a" is there twice'),
        (_raw(b'{"__metadata__": {"a": 1}}'), "metadata"),
        (_tensors(a=_entry(dtype="OBJ")), "OBJ"),
        (_tensors(a=_entry(dtype=["F32"])), "F32"),
        (_tensors(a=_entry(shape=[2])), "does not fit"),
        (_tensors(a=_entry(shape=[-1])), "shape"),
        (_tensors(a=_entry(shape=[True])), "shape"),
        (_tensors(a=_entry(shape=[1 << 50, 1 << 50])), "does not fit"),
        (_tensors(a=_entry(offsets=[0, 8], shape=[2])), "damaged"),
        (_tensors(8, a=_entry()), "damaged"),
        (_tensors(8, a=_entry(offsets=[4, 8])), "damaged"),
        (_tensors(4, a=_entry(), b=_entry()), "damaged"),
        (_tensors(a=_entry(code="x")), "malformed"),
        (_tensors(a="x"), "malformed"),
    ],
)
def test_hostile_safetensors(copy: Path, content: bytes, named: str) -> None:
    (copy / "golden.safetensors").write_bytes(content)
    _resealed(copy)
    assert named in _refused(copy) or (len(content) > 200_000 and "too large" in _refused(copy))
    with pytest.raises(PackageError) as caught:
        tensors.read_header(copy / "golden.safetensors")
    assert named in str(caught.value)


# Graphs


def _model(package: Package) -> ModelProto:
    model = ModelProto()
    model.ParseFromString(package.path("model.onnx").read_bytes())
    return model


def _with_graph(copy: Path, content: bytes) -> None:
    (copy / "model.onnx").write_bytes(content)
    _resealed(copy)


def _custom_domain(model: ModelProto) -> None:
    model.graph.node[0].domain = "evil.ops"


def _custom_opset(model: ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("evil.ops", 1))


def _new_opset(model: ModelProto) -> None:
    model.opset_import[0].version = 99


def _old_opset(model: ModelProto) -> None:
    model.opset_import[0].version = 7


def _function(model: ModelProto) -> None:
    model.functions.add().name = "bomb"


def _training(model: ModelProto) -> None:
    model.training_info.add()


def _loop(model: ModelProto) -> None:
    model.graph.node[0].op_type = "Loop"


def _subgraph_with_scan(model: ModelProto) -> None:
    body = helper.make_graph([helper.make_node("Scan", ["a"], ["b"])], "body", [], [])
    model.graph.node[0].attribute.append(helper.make_attribute("then_branch", body))


def _deep_graphs(model: ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    for _ in range(8):
        node = helper.make_node("If", ["a"], ["b"])
        node.attribute.append(helper.make_attribute("then_branch", body))
        body = helper.make_graph([node], "body", [], [])
    model.graph.node.append(body.node[0])


def _external(
    location: str, offset: str = "0", length: str = "4", hidden: bool = False
) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
        for key, value in (("location", location), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=value)
        if hidden:
            node = helper.make_node("Constant", [], ["c"])
            node.attribute.append(AttributeProto(name="value", type=AttributeProto.TENSOR, t=tensor))
            model.graph.node.append(node)
        else:
            model.graph.initializer.append(tensor)

    return change


def _wrong_raw_data(model: ModelProto) -> None:
    model.graph.initializer.append(TensorProto(name="w", data_type=1, dims=[1000], raw_data=b"1234"))


def _negative_shape(model: ModelProto) -> None:
    model.graph.initializer.append(TensorProto(name="w", data_type=1, dims=[-1], raw_data=b"1234"))


def _strings(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(["a"], dtype=object), "w"))


def _fixed_batch(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def _other_window(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 64


def _other_bands(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 3


def _other_classes(model: ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 5


def _other_type(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8


def _other_name(model: ModelProto) -> None:
    model.graph.input[0].name = "picture"


def _second_input(model: ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("extra", 1, ["batch"]))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_custom_domain, "evil.ops"),
        (_custom_opset, "evil.ops"),
        (_new_opset, "operator set 99"),
        (_old_opset, "operator set 7"),
        (_function, "functions"),
        (_training, "training"),
        (_loop, "Loop"),
        (_subgraph_with_scan, "Scan"),
        (_deep_graphs, "nests graphs"),
        (_external("../../etc/passwd"), "../../etc/passwd"),
        (_external("/etc/passwd"), "/etc/passwd"),
        (_external("LICENSE"), "LICENSE"),
        (_external("missing.data"), "missing.data"),
        (_external("/etc/shadow", hidden=True), "/etc/shadow"),
        (_external("model.data", offset="-1"), "offset"),
        (_external("model.data", length="9999"), "does not fit"),
        (_wrong_raw_data, "does not fit"),
        (_negative_shape, "shape"),
        (_strings, "type number 8"),
        (_fixed_batch, "(1, 2, 32, 32)"),
        (_other_window, "(any, 2, 64, 32)"),
        (_other_bands, "(any, 3, 32, 32)"),
        (_other_classes, "(any, 5, 32, 32)"),
        (_other_type, "type 2"),
        (_other_name, "picture"),
        (_second_input, "extra"),
    ],
)
def test_hostile_graphs(copy: Path, good: Package, change: Callable[[ModelProto], None], named: str) -> None:
    model = _model(good)
    change(model)
    _with_graph(copy, model.SerializeToString())
    _refused(copy, "model.onnx", named)


@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"not a graph at all", b"\xff" * 40, b"\x0a\xff\xff\xff\xff\x0f", b"\x3a\x00"]
)
def test_files_that_are_no_graph(copy: Path, content: bytes) -> None:
    _with_graph(copy, content)
    _refused(copy, "model.onnx is not an ONNX file")


def test_two_graphs_in_one_file(copy: Path, good: Package) -> None:
    # Protocol buffer readers merge a message that comes twice: what was checked would not be what runs.
    content = good.path("model.onnx").read_bytes()
    _with_graph(copy, content + content)
    _refused(copy, "several graphs")


def test_a_cut_graph_is_refused_at_any_place(good: Package, tmp_path: Path) -> None:
    content, path = good.path("model.onnx").read_bytes(), tmp_path / "model.onnx"
    whole = onnx_graph.read_graph(good.path("model.onnx"))
    for length in range(len(content)):
        path.write_bytes(content[:length])
        try:
            assert onnx_graph.read_graph(path) != whole
        except PackageError:
            continue


def test_external_weights_inside_the_package_are_read(tmp_path: Path) -> None:
    weight = np.arange(4, dtype=np.float32).reshape(2, 2, 1, 1)
    base = identity_package(tmp_path / "base", bands=2, window=16)
    content = graph_bytes(
        base, [helper.make_node("Conv", ["image", "w"], ["scores"])], [numpy_helper.from_array(weight, "w")]
    )
    model = ModelProto()
    model.ParseFromString(content)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "weights.data"), ("offset", "8"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    patches = golden_patches(base)
    outputs = run_graph(content, golden.expand_all(base, patches))
    parts = {"model.onnx": model.SerializeToString(), "weights.data": bytes(8) + weight.tobytes(), "LICENSE": LICENCE}
    package = build(replace(base, name="external"), parts, patches, outputs, tmp_path)
    found = run_graph(str(package.path("model.onnx")), golden.expand_all(base, patches))
    assert np.array_equal(found["scores"], outputs["scores"])
    short = {**parts, "weights.data": weight.tobytes()}
    with pytest.raises(PackageError, match="beyond the end"):
        build(replace(base, name="short"), short, patches, outputs, tmp_path)


def test_the_reader_sees_what_onnx_sees(tmp_path: Path) -> None:
    for package in (conv_package(tmp_path, window=64), two_sensor_package(tmp_path, 16)):
        model, graph = _model(package), onnx_graph.read_graph(package.path("model.onnx"))
        assert graph.operators == {node.op_type for node in model.graph.node}
        assert graph.initializers == {tensor.name for tensor in model.graph.initializer}
        assert graph.nodes == len(model.graph.node)
        for found, values in ((graph.inputs, model.graph.input), (graph.outputs, model.graph.output)):
            shapes = {v.name: tuple(d.dim_value or None for d in v.type.tensor_type.shape.dim) for v in values}
            assert {name: shape for name, (_, shape) in found.items()} == shapes


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_changed_bytes_never_end_in_another_error(good: Package, tmp_path: Path, data: st.DataObject) -> None:
    for name, read in (("model.onnx", onnx_graph.read_graph), ("golden.safetensors", tensors.read_tensors)):
        content = bytearray(good.path(name).read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, min(len(content), 400) - 1))] = data.draw(st.integers(0, 255))
        path = tmp_path / name
        path.write_bytes(content)
        with contextlib.suppress(PackageError):
            read(path)
