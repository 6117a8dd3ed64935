"""Staged encoders as packages: what makes one whole, its documents, its graphs, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from backend.manifest import check, document
from backend.manifest.build import write_sums
from backend.manifest.load import load_folder
from backend.manifest.package import Feature, Package, Tiling, Variant
from backend.manifest.upgrade import upgrade
from backend.protocol.errors import PackageError
from tests.packages import encoder_and_heads, graph_bytes, staged_encoder

SIZES = {"join.onnx": 1, "hr.onnx": 2, "ms.onnx": 3, "golden.safetensors": 4, "LICENSE": 5}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return staged_encoder(tmp_path_factory.mktemp("staged"))


@pytest.fixture
def copy(encoder: Package, tmp_path: Path) -> Path:
    """A copy of a good package to spoil."""
    return Path(shutil.copytree(encoder.root, tmp_path / encoder.root.name))


def resealed(root: Path, **changes: Callable[[dict[str, Any]], None]) -> None:
    """Brings model.json and the digests in line with changed files, as a careful attacker would."""
    content = json.loads((root / "model.json").read_text())
    for name, asset in list(content["assets"].items()):
        if (root / name).exists():
            asset["file:size"] = (root / name).stat().st_size
        else:
            del content["assets"][name]
    for change in changes.values():
        change(content)
    (root / "model.json").write_text(json.dumps(content))
    write_sums(root)


def refused(root: Path, *named: str) -> None:
    with pytest.raises(PackageError) as caught:
        load_folder(root)
    for text in named:
        assert text in str(caught.value)


def test_it_loads_as_it_was_built(encoder: Package) -> None:
    assert load_folder(encoder.root) == encoder
    assert encoder.staged and encoder.variants[0].stages == {"hr": "hr.onnx", "ms": "ms.onnx"}


def test_round_trip(encoder: Package) -> None:
    written = json.loads(json.dumps(document.encode(encoder, SIZES)))
    assert document.decode(written, encoder.root, SIZES, encoder.digest) == encoder
    roles = {name: asset["roles"] for name, asset in written["assets"].items()}
    assert all(roles[name] == ["mlm:model"] for name in ("hr.onnx", "ms.onnx", "join.onnx"))


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("earthprism:variants", 0, "stages", "hr"), "../hr.onnx", "stages.hr"),
        (("earthprism:variants", 0, "stages", "hr"), "/etc/passwd", "stages.hr"),
        (("earthprism:variants", 0, "stages", "hr"), 7, "stages.hr"),
        (("earthprism:variants", 0, "stages"), ["hr.onnx"], "stages"),
        (("earthprism:joins",), "hr_map", "joins"),
        (("earthprism:joins", 0), "../x", "joins"),
        (("earthprism:features", 0, "slot"), "a b", "slot"),
        (("earthprism:features", 0, "size"), -1, "size"),
        (("earthprism:inputs", 1, "bands_input"), "", "bands_input"),
    ],
)
def test_what_is_not_in_the_schema(encoder: Package, path: tuple[Any, ...], value: Any, named: str) -> None:
    content = json.loads(json.dumps(document.encode(encoder, SIZES)))
    place = content["properties"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(PackageError) as caught:
        document.decode(content, encoder.root, SIZES)
    assert named in str(caught.value)


def with_feature(package: Package, number: int, **fields: Any) -> Package:
    features = list(package.features)
    features[number] = replace(features[number], **fields)
    return replace(package, features=tuple(features))


def with_variant(package: Package, **fields: Any) -> Package:
    return replace(package, variants=(replace(package.variants[0], **fields),))


CONTRADICTIONS: list[tuple[Callable[[Package], Package], str]] = [
    (lambda p: replace(p, joins=(), inputs=(replace(p.inputs[0], valid_input=None), p.inputs[1])), "nothing joins"),
    (lambda p: replace(p, joins=()), "has no date axis"),
    (lambda p: replace(p, joins=("hr_map",)), "exactly one feature of every input"),
    (lambda p: replace(p, joins=("hr_map", "ms_map", "ms_map")), "exactly one feature of every input"),
    (lambda p: replace(p, joins=("hr_map", "fused")), "exactly one feature of every input"),
    (lambda p: replace(p, joins=("hr_map", "nothing")), "exactly one feature of every input"),
    (lambda p: with_feature(p, 0, channels=3), "maps of one shape"),
    (lambda p: with_feature(p, 0, size=8), "maps of one shape"),
    (lambda p: with_feature(with_feature(p, 0, size=0), 1, size=0), "maps of one shape"),
    (lambda p: with_feature(with_feature(p, 0, size=3), 1, size=3), "no multiple of 3 positions"),
    (lambda p: replace(p, features=(*p.features, Feature("more", 2, 4, "sar"))), "belongs to no input"),
    (lambda p: with_variant(p, stages={"hr": "hr.onnx"}), "one graph for every input"),
    (lambda p: with_variant(p, stages={**p.variants[0].stages, "sar": "x.onnx"}), "one graph for every input"),
    (lambda p: with_variant(p, stages={}), "one graph for every input"),
    (
        lambda p: with_variant(p, runtime="torch", file="w.safetensors", architecture="a", stages={"hr": "hr.onnx"}),
        "its network has them itself",
    ),
    (lambda p: replace(p, kind="bundle", task="classify", outputs=()), "must have outputs"),
    (lambda p: replace(p, inputs=(p.inputs[0], replace(p.inputs[1], bands_input="hr"))), '"hr" is there twice'),
]


@pytest.mark.parametrize(("change", "named"), CONTRADICTIONS, ids=[named for _, named in CONTRADICTIONS])
def test_contradictions(encoder: Package, change: Callable[[Package], Package], named: str) -> None:
    check.check(encoder)
    with pytest.raises(PackageError) as caught:
        check.check(change(encoder))
    assert named in str(caught.value)


def test_stages_without_a_join(tmp_path: Path) -> None:
    plain, _ = encoder_and_heads(tmp_path, 0, window=16)
    with pytest.raises(PackageError, match="has stages, but the package has no join"):
        check.check(with_variant(plain, stages={"image": "model.onnx"}))


def test_a_head_whose_window_fits_no_input(encoder: Package, tmp_path: Path) -> None:
    _, (head,) = encoder_and_heads(tmp_path, 1, window=16)
    fitting = replace(head, encoder=encoder.digest, features=encoder.features[2:3], tiling=Tiling(32, 8))
    check.check_head(fitting, encoder)
    with pytest.raises(PackageError, match='32 of the input "hr"'):
        check.check_head(replace(fitting, tiling=Tiling(24, 8)), encoder)


# Graphs and files


@pytest.mark.parametrize("name", ["hr.onnx", "ms.onnx", "join.onnx"])
def test_a_stage_that_is_missing(copy: Path, name: str) -> None:
    (copy / name).unlink()
    resealed(copy)
    refused(copy, f'lacks the file "{name}"')


def test_a_graph_that_no_stage_uses(copy: Path) -> None:
    shutil.copyfile(copy / "hr.onnx", copy / "sar.onnx")

    def describe(content: dict[str, Any]) -> None:
        size = (copy / "sar.onnx").stat().st_size
        asset = {**content["assets"]["LICENSE"], "type": "application/octet-stream", "file:size": size}
        content["assets"]["sar.onnx"] = {**asset, "href": "./sar.onnx"}

    resealed(copy, describe=describe)
    refused(copy, "sar.onnx", "nothing in it uses")


@pytest.mark.parametrize(
    ("name", "other"), [("ms.onnx", "hr.onnx"), ("hr.onnx", "join.onnx"), ("join.onnx", "ms.onnx")]
)
def test_graphs_that_are_exchanged(copy: Path, name: str, other: str) -> None:
    shutil.copyfile(copy / other, copy / name)
    resealed(copy)
    refused(copy, name)


def test_a_stage_of_another_size(copy: Path, tmp_path: Path) -> None:
    other = staged_encoder(tmp_path / "other", name="other")
    slot = replace(other.inputs[0], size=16)
    plain = replace(other, inputs=(slot,), features=(replace(other.features[0], size=2),), joins=())
    content = graph_bytes(plain, [_node()], [])
    (copy / "hr.onnx").write_bytes(content)
    resealed(copy)
    refused(copy, "hr.onnx", "(any, 1, 16, 16)", "(any, 1, 32, 32)")


def _node() -> Any:
    from onnx import helper

    return helper.make_node("Identity", ["hr"], ["hr_map"])


# Golden data


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("ms_days", (1, 3)),
        ("ms_days", (2, 2)),
        ("ms_valid", (1, 2, 4)),
        ("ms_valid", (1, 2, 8, 8)),
        ("ms_valid", (1, 1)),
        ("hr_valid", (1, 2)),
        ("ms_bands", (1, 3)),
        ("ms_bands", (2, 2)),
    ],
)
def test_golden_data_beside_images_that_do_not_fit(copy: Path, name: str, shape: tuple[int, ...]) -> None:
    arrays = load_file(copy / "golden.safetensors")
    arrays[f"input/{name}"] = np.ones(shape, np.float32)
    (copy / "golden.safetensors").write_bytes(save(arrays))
    resealed(copy)
    refused(copy, f"input/{name}", str(list(shape)))


def test_golden_validity_by_date(copy: Path) -> None:
    arrays = load_file(copy / "golden.safetensors")
    arrays["input/ms_valid"] = np.ones((1, 2), np.float32)
    (copy / "golden.safetensors").write_bytes(save(arrays))
    resealed(copy)
    load_folder(copy)


# Older documents


def test_a_document_of_schema_two(tmp_path: Path) -> None:
    """It gave a feature's pixels per position; a vector had 0."""
    encoder, _ = encoder_and_heads(tmp_path, 0, window=64)
    expected = replace(encoder, features=(*encoder.features, Feature("image", 8, 0)))
    old = json.loads(json.dumps(document.encode(expected, SIZES)))
    old["properties"]["earthprism:schema"] = 2
    for feature, stride in zip(old["properties"]["earthprism:features"], (4.0, 0), strict=True):
        del feature["size"]
        feature["stride"] = stride
    assert document.decode(upgrade(old), encoder.root, SIZES, encoder.digest) == expected


@pytest.mark.parametrize("stride", ["4", None, -4, {}, True])
def test_a_wrong_document_of_schema_two_is_refused(tmp_path: Path, stride: Any) -> None:
    encoder, _ = encoder_and_heads(tmp_path, 0, window=64)
    old = json.loads(json.dumps(document.encode(encoder, SIZES)))
    old["properties"]["earthprism:schema"] = 2
    (feature,) = old["properties"]["earthprism:features"]
    del feature["size"]
    feature["stride"] = stride
    with pytest.raises(PackageError):
        document.decode(upgrade(old), encoder.root, SIZES)


def test_a_variant_that_is_not_staged_beside_one_that_is(encoder: Package) -> None:
    both = replace(encoder, variants=(*encoder.variants, Variant("onnxruntime", "int8", "other.onnx", 0.1)))
    with pytest.raises(PackageError, match="one graph for every input"):
        check.check(both)
