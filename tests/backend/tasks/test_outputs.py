"""Where results go, what kind of rasters they are, and which names are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backend.manifest.package import ClassInfo, Output
from backend.protocol.errors import InputError, OutputError, PackageError, ParameterError, ResumeError
from backend.protocol.jobs import AreaSpec, GridSpec, InputSpec, MaskSpec, SegmentJob
from backend.scene.decide import ClassRule
from backend.tasks.outputs import (
    HeadFiles,
    check_free,
    check_missing,
    check_outputs,
    class_rule,
    head_files,
    result_files,
    space_warning,
)
from tests.packages import encoder_and_heads, identity_package


def job(folder: Path, **fields: object) -> SegmentJob:
    return replace(SegmentJob((InputSpec("ms", ("a.tif",)),), ("m",), str(folder / "out.tif")), **fields)


def heads_of(folder: Path, count: int, **fields: object) -> tuple[HeadFiles, ...]:
    _, heads = encoder_and_heads(folder / "models", count)
    return head_files(job(folder, **fields), heads, [head.outputs[0] for head in heads])


# --- what is written


def test_one_head_writes_under_the_names_that_were_given(tmp_path: Path) -> None:
    names = {"confidence": str(tmp_path / "c.tif"), "polygons": str(tmp_path / "v.gpkg")}
    (head,) = heads_of(tmp_path, 1, **names)
    assert head.targets == {"classes": tmp_path / "out.tif", "confidence": tmp_path / "c.tif"}
    assert head.polygons == tmp_path / "v.gpkg"
    # A chunk counts as finished when its class raster is there: that one is written last.
    assert list(head.profiles) == ["confidence", "classes"]
    assert (head.output.classes, head.output.confidence, head.output.probabilities) == ("classes", "confidence", None)


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


# --- names


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"output": "out.png"}, ParameterError, "must end in .tif or .tiff"),
        ({"confidence": "c.gpkg"}, ParameterError, "--confidence"),
        ({"polygons": "v.shp"}, ParameterError, "must end in .gpkg"),
        ({"confidence": "out.tif"}, ParameterError, "name the same file"),
        ({"confidence": "sub/../out.tif"}, ParameterError, "name the same file"),
        ({"output": "a.tif"}, ParameterError, "would overwrite an input"),
        ({"output": "mask.tif", "mask": MaskSpec("mask.tif")}, ParameterError, "would overwrite an input"),
        ({"output": "grid.tif", "grid": GridSpec("grid.tif")}, ParameterError, "would overwrite an input"),
        ({"polygons": "aoi.gpkg", "area": AreaSpec("aoi.gpkg|layername=x")}, ParameterError, "overwrite an input"),
        ({"output": "scene.SAFE/out.tif", "inputs": (InputSpec("ms", ("scene.SAFE",)),)}, ParameterError, "folder of"),
        ({"output": "nowhere/out.tif"}, OutputError, "does not exist"),
        ({"output": "folder.tif"}, OutputError, "is a folder"),
    ],
)
def test_names_that_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, object], kind: type[InputError], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("sub", "scene.SAFE", "folder.tif"):
        (tmp_path / name).mkdir()
    with pytest.raises(kind, match=words):
        check_outputs(job(tmp_path, **fields))
    check_outputs(job(tmp_path))


def test_what_exists_is_named_in_full(tmp_path: Path) -> None:
    first, second, absent = (tmp_path / name for name in ("a.tif", "b.tif", "c.tif"))
    check_free([first, second])
    first.touch()
    with pytest.raises(ResumeError, match=r"a\.tif\" exists already"):
        check_free([first, second])
    second.touch()
    with pytest.raises(ResumeError, match=r"a\.tif\" and .*b\.tif\" exist already"):
        check_free([first, second, absent])
    check_missing([first, second])
    with pytest.raises(ResumeError, match=r"c\.tif\" is missing"):
        check_missing([first, absent])


def test_space_is_counted_in_bytes_of_result_and_parts(tmp_path: Path) -> None:
    (head,) = heads_of(tmp_path, 1)
    profile = head.profiles["classes"]
    assert space_warning(tmp_path, 1000, [profile]) == ""
    assert "2000000000.0 GB are needed" in space_warning(tmp_path, 10**18, [profile])
    assert "8000000000.0 GB" in space_warning(tmp_path, 10**18, [replace(profile, dtype="float32")])
