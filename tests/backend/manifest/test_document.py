"""model.json: round trips, the schema and its strict reader, contradictions, upgrades."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from backend.manifest import check, document, files, schema
from backend.manifest.load import load_folder
from backend.manifest.package import (
    BandNeed,
    ClassInfo,
    Feature,
    InputSlot,
    Output,
    Package,
    Step,
    Tiling,
    Variant,
)
from backend.manifest.upgrade import upgrade
from backend.protocol.errors import PackageError

SIZES = {"model.onnx": 5, "model.safetensors": 9, "golden.safetensors": 7, "LICENSE": 3, "style.qml": 1}
VALIDATOR = Draft202012Validator(schema.schema())


def _rich_package() -> Package:
    """Uses every field away from its default."""
    bands = (BandNeed("B04", 665.0, 30.0), BandNeed("B08", 833.0, 106.0))
    steps = (
        Step("scale", factor=(10000.0,), offset=(0.0,)),
        Step("clip", minimum=(0.0,), maximum=(4000.0, 5000.0)),
        Step("rescale", minimum=(12.5, 1.0), maximum=(2829.5, 5529.3)),
        Step("standardise", mean=(0.198, 0.399), std=(0.192, 0.241)),
    )
    optical = InputSlot(
        "s2", "ms", ("sentinel-2-l2a",), bands, "reflectance", 224, steps, -1.0, (1, 12), True, False, "before",
        "cubic", 6.857, (8.0, 12.0), "s2_days", "s2_valid",
    )  # fmt: skip
    polarised = tuple(BandNeed(name, polarisation=name) for name in ("VV", "VH"))
    radar = InputSlot(
        "s1", "sar", (), polarised, "linear", 96, (Step("db", floor=(1e-6,)), Step("log1p")), gsd_m=(5.0, math.inf)
    )
    legend = (ClassInfo(1, "Eau / été", "#0000ff"), ClassInfo(7, "Land", "#00ff00"))
    plain = Variant("onnxruntime", "fp32", "model.onnx", 1e-4)
    network: dict[str, Any] = {"depth": 12, "widths": (64, 128), "name": "b", "bias": None, "moe": True}
    return Package(
        Path("x"), "rich-model", "1.10.0", "A rich model", "bundle", "change", Tiling(96, 8, 16),
        (plain, Variant("torch", "bf16", "model.safetensors", 0.05, "vit", network)), (optical, radar),
        (Output("map", "sigmoid", legend, (0.5, 0.25), 0), Output("second", "softmax", legend)),
        (Feature("tokens", 768, 14), Feature("pooled", 768, 0)), None, "golden.safetensors",
        "style.qml", "Apache-2.0", "Who made it", "What it is", "ViT", "Where", "2025-01-02T03:04:05Z",
    )  # fmt: skip


def _valid() -> dict[str, Any]:
    result: dict[str, Any] = json.loads(json.dumps(document.encode(_rich_package(), SIZES)))
    return result


def test_round_trip_keeps_everything() -> None:
    package = _rich_package()
    check.check(package)
    assert document.decode(_valid(), Path("x"), SIZES) == package


def test_schema_is_itself_valid() -> None:
    Draft202012Validator.check_schema(schema.schema())


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in _places(item, (*path, key)))]


PLACES = _places(_valid())
JUNK = [None, True, 0, 1, -1, 0.5, 2.0, 1e300, "", "a", "B04", "clip", "#0000ff", [], [1], [1.5, 2], {}, {"op": "clip"},
        {"name": "x"}, "../x", "sha256:" + "0" * 64, "x" * 400]  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(PLACES), st.sampled_from(["set", "delete", "add"]), st.sampled_from(JUNK))
def test_reader_and_schema_accept_the_same_documents(place: tuple[Any, ...], how: str, junk: Any) -> None:
    changed = copy.deepcopy(_valid())
    parent: Any = changed
    for key in place[:-1]:
        parent = parent[key]
    if how == "add":
        target = parent[place[-1]] if place else changed
        if isinstance(target, dict):
            target["unexpected"] = copy.deepcopy(junk)
        elif isinstance(target, list):
            target.append(copy.deepcopy(junk))
    elif not place:
        changed = copy.deepcopy(junk) if how == "set" else {}
    elif how == "set":
        parent[place[-1]] = copy.deepcopy(junk)
    else:
        del parent[place[-1]]
    try:
        schema.check(changed)
        accepted = True
    except PackageError:
        accepted = False
    assert accepted == VALIDATOR.is_valid(changed)


def test_a_line_feed_at_the_end_is_no_part_of_a_name() -> None:
    # JSON Schema's "$" is the very end; Python's, which the jsonschema package uses, is also before a last line feed.
    with pytest.raises(PackageError, match="earthprism:name"):
        schema.check(_changed("properties~earthprism:name", "rich-model\n"))


def _changed(path: str, value: Any) -> dict[str, Any]:
    """The valid document with one value set; ~ separates the keys."""
    result = _valid()
    *parents, last = path.split("~")
    target: Any = result
    for key in parents:
        target = target[int(key) if isinstance(target, list) else key]
    target[int(last) if isinstance(target, list) else last] = value
    return result


EXPRESSION = {"format": "python", "expression": "__import__('os').system('true')"}


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("proj:epsg", 4326, "proj:epsg"),
        ("properties~proj", "+proj=utm", "proj"),
        ("properties~earthprism:color", 1, "earthprism:color"),
        ("properties~mlm:input~0~pre_processing_function", EXPRESSION, "pre_processing_function"),
        ("properties~mlm:input~0~value_scaling", [{"type": "processing", **EXPRESSION}], "value_scaling"),
        ("properties~mlm:output~0~post_processing_function", EXPRESSION, "post_processing_function"),
        ("properties~mlm:input~0~bands~0", {"name": "B04", **EXPRESSION}, "bands[0]"),
        ("assets~model.onnx~mlm:entrypoint", "evil:main", "mlm:entrypoint"),
        ("assets~model.onnx~href", "https://example.org/model.onnx", "href"),
        ("links", [{"rel": "derived_from", "href": "https://example.org"}], "links"),
        ("properties~earthprism:inputs~0~steps~0~op", "python", "steps[0].op"),
        ("properties~earthprism:inputs~0~steps~1~mean", 1, "mean"),
        ("properties~earthprism:inputs~0~bands~0~expression", "B04/B08", "expression"),
        ("properties~earthprism:variants~0~file", "../model.onnx", "file"),
        ("properties~earthprism:variants~1~parameters~net", {"a": 1}, "parameters.net"),
        ("properties~earthprism:version", "1.0", "version"),
        ("properties~earthprism:kind", "plugin", "kind"),
        ("properties~earthprism:outputs~0~classes~0~value", True, "classes[0].value"),
        ("properties~title", "two\nlines", "title"),
    ],
)
def test_what_is_not_in_the_schema_is_refused_by_name(path: str, value: Any, named: str) -> None:
    with pytest.raises(PackageError) as caught:
        document.decode(_changed(path, value), Path("x"), SIZES)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("properties~mlm:input~0~bands", ["B04"], "mlm:input[0].bands"),
        ("properties~mlm:output~0~classification:classes~0~value", 3, "classification:classes[0].value"),
        ("assets~model.onnx~file:size", 6, "file:size"),
        ("id", "other-1.0.0", "id"),
        ("properties~mlm:name", "other", "mlm:name"),
    ],
)
def test_the_standard_part_may_not_contradict_ours(path: str, value: Any, named: str) -> None:
    with pytest.raises(PackageError, match="contradicts itself") as caught:
        document.decode(_changed(path, value), Path("x"), SIZES)
    assert named in str(caught.value)


def test_an_asset_that_is_no_file_is_refused() -> None:
    described = _changed("assets~ghost.onnx", _valid()["assets"]["model.onnx"])
    with pytest.raises(PackageError, match=r"ghost\.onnx"):
        document.decode(described, Path("x"), SIZES)


def _with_slot(**fields: Any) -> Package:
    package = _rich_package()
    return replace(package, inputs=(replace(package.inputs[0], **fields), package.inputs[1]))


def _with_output(**fields: Any) -> Package:
    package = _rich_package()
    return replace(package, outputs=(replace(package.outputs[0], **fields),))


def _with_variant(**fields: Any) -> Package:
    package = _rich_package()
    return replace(package, variants=(replace(package.variants[0], **fields),))


TWICE = (ClassInfo(1, "a", "#000000"), ClassInfo(1, "b", "#000000"))


@pytest.mark.parametrize(
    ("package", "named"),
    [
        (replace(_rich_package(), kind="encoder"), "must not have outputs"),
        (replace(_rich_package(), kind="head"), "must not have inputs"),
        (replace(_rich_package(), kind="robot"), "robot"),
        (replace(_rich_package(), tiling=Tiling(96, 7, 0)), "tiling"),
        (replace(_rich_package(), tiling=Tiling(96, 8, 48)), "margin"),
        (replace(_rich_package(), golden="golden.npz"), "golden.npz"),
        (replace(_rich_package(), style="style.py"), "style.py"),
        (_with_slot(steps=(Step("clip", minimum=(0.0, 0.0, 0.0), maximum=(1.0,)),)), "3 values of minimum"),
        (_with_slot(steps=(Step("rescale", minimum=(1.0,), maximum=(1.0,)),)), "not below"),
        (_with_slot(steps=(Step("standardise", mean=(0.0,), std=(0.0,)),)), "standard deviation"),
        (_with_slot(steps=(Step("db", floor=(0.0,)),)), "floor"),
        (_with_slot(steps=(Step("exec"),)), "exec"),
        (_with_slot(steps=(Step("clip", minimum=(0.0,)),)), "wrong parameters"),
        (_with_slot(bands=(BandNeed("B04"), BandNeed("B04"))), "B04"),
        (_with_slot(dates=(2, 1)), "dates"),
        (_with_slot(dates=(1, 1), temporal=False), "date axis"),
        (_with_slot(gsd_m=(20.0, 10.0)), "pixel sizes"),
        (_with_slot(modality="sar"), "polarisation"),
        (_with_slot(name="s1"), '"s1" is there twice'),
        (_with_output(nodata=1), "nodata"),
        (_with_output(classes=TWICE), "twice"),
        (_with_output(classes=()), "no classes"),
        (_with_output(thresholds=(0.5,)), "1 thresholds for 2 classes"),
        (_with_output(classes=(ClassInfo(300, "a", "#000000"), ClassInfo(2, "b", "#000000"))), "0 to 255"),
        (_with_variant(file="model.safetensors"), ".onnx"),
        (_with_variant(runtime="torch", file="model.safetensors"), "architecture"),
        (_with_variant(parameters={"a": 1}), "parameters"),
    ],
)
def test_contradictions_between_parts_are_named(package: Package, named: str) -> None:
    with pytest.raises(PackageError) as caught:
        check.check(package)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b'{"a": 1, "a": 2}', '"a" is there twice'),
        (b'{"a": {"b": 1, "b": 1}}', '"b" is there twice'),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": 1%s}' % (b"0" * 5000), "too large"),
        (b"[" * 100_000, "nested"),
        (b'{"a": 1', "not JSON"),
        (b'\xff{"a": 1}', "UTF-8"),
    ],
)
def test_loose_json_is_refused(text: bytes, named: str) -> None:
    with pytest.raises(PackageError) as caught:
        files.parse_json(text, "model.json")
    assert named in str(caught.value)


def _first_schema() -> dict[str, Any]:
    """A document as schema 1 had it: a single output, features by their stride."""
    old = _valid()
    window = old["properties"]["earthprism:tiling"]["window"]
    for feature in old["properties"]["earthprism:features"]:
        size = feature.pop("size")
        feature["stride"] = window / size if size else 0
    outputs = old["properties"].pop("earthprism:outputs")
    del old["properties"]["mlm:output"][1]
    old["properties"]["earthprism:output"] = outputs[0]
    old["properties"]["earthprism:schema"] = 1
    return old


def test_a_document_of_the_first_schema_is_upgraded() -> None:
    expected = replace(_rich_package(), outputs=_rich_package().outputs[:1])
    old = _first_schema()
    assert document.decode(upgrade(old), Path("x"), SIZES) == expected
    assert old == _first_schema()  # the argument is left as it was


@pytest.mark.parametrize(("number", "named"), [(4, "update EarthPrism"), (0, "too old"), (-1, "too old")])
def test_unknown_schema_numbers_are_refused(number: int, named: str) -> None:
    with pytest.raises(PackageError, match=named):
        upgrade(_changed("properties~earthprism:schema", number))


def test_upgrades_run_one_after_the_other() -> None:
    steps = {
        1: lambda d: {"properties": {**d["properties"], "a": 1}},
        2: lambda d: {"properties": {**d["properties"], "b": 2}},
    }
    old = {"properties": {"earthprism:schema": 1}}
    assert upgrade(old, steps, newest=3) == {"properties": {"earthprism:schema": 3, "a": 1, "b": 2}}


def test_an_encoder_digest_does_not_look_like_a_secret(tmp_path: Path) -> None:
    from tests.packages import encoder_and_heads

    encoder, (head,) = encoder_and_heads(tmp_path, 1, window=16)
    text = (head.root / "model.json").read_text()
    assert f'"sha256:{encoder.digest}"' in text
    assert load_folder(head.root).encoder == encoder.digest
