"""The files of a class map, what kind of rasters they are, and how scores become classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backend.manifest.package import ClassInfo, Output
from backend.protocol.errors import PackageError
from backend.protocol.jobs import InputSpec, SegmentJob
from backend.scene.decide import ClassRule
from backend.scene.finish import HeadOutput
from backend.tasks.class_maps import ClassMap, class_maps, class_rule
from backend.tasks.outputs import result_files
from tests.packages import encoder_and_heads, identity_package


def heads_of(folder: Path, count: int, **fields: object) -> tuple[ClassMap, ...]:
    job = replace(SegmentJob((InputSpec("ms", ("a.tif",)),), ("m",), str(folder / "out.tif")), **fields)
    _, heads = encoder_and_heads(folder / "models", count)
    return class_maps(job, heads, [head.outputs[0] for head in heads])


# --- what is written


def test_one_head_writes_under_the_names_that_were_given(tmp_path: Path) -> None:
    names = {"confidence": str(tmp_path / "c.tif"), "polygons": str(tmp_path / "v.gpkg")}
    (head,) = heads_of(tmp_path, 1, **names)
    assert head.targets == {"classes": tmp_path / "out.tif", "confidence": tmp_path / "c.tif"}
    assert head.polygons == tmp_path / "v.gpkg"
    # A chunk counts as finished when its class raster is there: that one is written last.
    assert list(head.profiles) == ["confidence", "classes"]
    assert head.output == HeadOutput(ClassRule((0, 1, 2)), "classes", "confidence")
    assert (head.layer, head.target, head.nodata) == ("classes", tmp_path / "out.tif", 255)


def test_several_heads_get_their_names_into_the_files(tmp_path: Path) -> None:
    heads = heads_of(tmp_path, 2, probabilities=str(tmp_path / "p.tif"))
    assert [sorted(path.name for path in head.targets.values()) for head in heads] == [
        ["out-tiny-head-1.tif", "p-tiny-head-1.tif"], ["out-tiny-head-2.tif", "p-tiny-head-2.tif"],
    ]  # fmt: skip
    layers = [layer for head in heads for layer in head.profiles]
    assert len(set(layers)) == len(layers) == 4
    files = result_files(heads, tmp_path / "out.tif")
    assert [path.name for path in files["classes"]] == ["out-tiny-head-1.tif", "out-tiny-head-2.tif"]
    assert files["polygons"] == [] and [path.name for path in files["run"] + files["stac"]] == [
        "out.run.json", "out.stac.json",
    ]  # fmt: skip


def test_profiles_say_what_numbers_mean(tmp_path: Path) -> None:
    (head,) = heads_of(tmp_path, 1, probabilities=str(tmp_path / "p.tif"))
    classes, probabilities = head.profiles["classes"], head.profiles["probabilities"]
    assert classes.dtype == "uint8" and classes.nodata == 255 and classes.overview_resampling == "mode"
    assert classes.legend is not None and [c.name for c in classes.legend.classes] == ["class 0", "class 1", "class 2"]
    assert probabilities.descriptions == ("class 0", "class 1", "class 2") and probabilities.count == 3
    assert probabilities.scale == pytest.approx(1 / 250) and probabilities.overview_resampling == "average"
    assert classes.tags["EARTHPRISM_MODEL"] == "tiny-head-1@1.0.0"


# --- how scores become classes


def test_a_single_label_gets_its_opposite(tmp_path: Path) -> None:
    package = identity_package(tmp_path)
    water = ClassInfo(1, "water", "#0000ff")
    rule, classes = class_rule(Output("scores", "sigmoid", (water,), (0.3,)), package)
    assert rule == ClassRule((0, 1), 0.3) and [c.name for c in classes] == ["not water", "water"]
    rule, classes = class_rule(Output("scores", "sigmoid", (replace(water, value=0),)), package)
    assert rule == ClassRule((1, 0), 0.5) and [c.value for c in classes] == [1, 0]


def test_what_makes_no_class_map(tmp_path: Path) -> None:
    package = identity_package(tmp_path)
    labels = (ClassInfo(0, "roof", "#000000"), ClassInfo(1, "solar", "#ffffff"))
    with pytest.raises(PackageError, match="gives no classes"):
        class_rule(Output("scores", "identity"), package)
    with pytest.raises(PackageError, match="several labels"):
        class_rule(Output("scores", "sigmoid", labels), package)
