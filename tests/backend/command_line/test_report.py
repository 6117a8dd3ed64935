"""Results as lines for people."""

from __future__ import annotations

from typing import Any

import pytest

from backend.command_line.report import lines

COMPUTE = {"device": "cpu", "runtime": "onnxruntime", "precision": "fp32", "batch": 4}


def segmented(*heads: list[tuple[str, float | None]], **outputs: Any) -> dict[str, Any]:
    areas = [
        [{"value": k, "name": name, "pixels": 1, "area_m2": area} for k, (name, area) in enumerate(head)]
        for head in heads
    ]
    names = [f"out-{number}.tif" for number in range(len(heads))]
    files = {"classes": names, "polygons": [], "polygon_count": [], "class_areas": areas, "run": "out.run.json"}
    return {"outputs": {**files, **outputs}, "windows": 1, "seconds": 1.5, "compute": COMPUTE}


def test_a_class_map_ends_with_its_areas() -> None:
    found = list(lines("segment", segmented([("no water", 3e6), ("water", 1e6)], polygon_count=[7])))
    assert found[0].split() == ["classes", "out-0.tif"] and "polygon count  7" in found
    assert [line.split() for line in found if line.startswith("area")] == [
        ["area", "no", "water", "3.000", "km2", "75.00%"],
        ["area", "water", "1.000", "km2", "25.00%"],
    ]
    assert found[-1] == "1 window in 1.5 s on cpu (onnxruntime, fp32)"
    assert not any("class areas" in line or "{" in line for line in found)


@pytest.mark.parametrize(
    ("area", "words"),
    [
        (0.0, "0.000 ha"),
        (123.4, "0.012 ha"),
        (56_700.0, "5.670 ha"),
        (999_000.0, "99.90 ha"),
        (12_345_678.0, "12.35 km2"),
        (4_567_890_000_000.0, "4,567,890 km2"),
        (None, "not known"),
    ],
)
def test_areas_in_the_unit_in_which_people_say_them(area: float | None, words: str) -> None:
    (line,) = (line for line in lines("segment", segmented([("x", area)])) if line.startswith("area"))
    assert words in line and line.endswith(("%", words))


def test_areas_of_several_heads_are_told_apart() -> None:
    found = list(lines("segment", segmented([("a", 1.0)], [("b", 1.0)])))
    places = [line.split()[-1] for line in found if line.startswith("areas of")]
    assert places == ["out-0.tif", "out-1.tif"]


def test_a_finished_run_and_an_embedding_have_no_areas() -> None:
    result = segmented([("a", 1.0)])
    del result["outputs"]["class_areas"]
    assert not any(line.startswith("area") for line in lines("segment", result))
    result["outputs"] = {"embedding": ["emb.tif"], "run": "emb.run.json"}
    assert next(lines("embed", result)) == "embedding      emb.tif"


def test_a_plan() -> None:
    result = {
        "width": 10, "height": 20, "pixel_size_m": [10.0, 10.0], "crs": "EPSG:32633", "window": 64, "windows": 2,
        "chunks": 1, "memory_bytes": 5e8, "seconds": 0.2, "compute": COMPUTE, "warnings": ["mind the gap"],
        "inputs": [{"slot": "image", "sensor": None, "date": "2024-05-01"}],
    }  # fmt: skip
    text = "\n".join(lines("plan", result))
    assert "10 x 20 px of 10 x 10 m in EPSG:32633" in text and "image: sensor not known, 2024-05-01" in text
    assert "2 windows of 64 px, written in 1 chunk" in text and "about 0.50 GB" in text and "about 1 s" in text
    assert text.endswith("warning   mind the gap")


def test_inspections_are_set_apart() -> None:
    one, other = {"summary": ["layout    a"]}, {"summary": ["layout    b"]}
    assert list(lines("inspect", one)) == ["layout    a"]
    assert list(lines("inspect", {"rasters": [one, other]})) == ["layout    a", "", "layout    b"]


def test_packages() -> None:
    good = {"name": "water", "version": "1.0.0", "kind": "bundle", "title": "Water", "problem": ""}
    broken = {"path": "/x", "problem": "model.json is missing"}
    assert list(lines("models list", {"models": []})) == ["no model is installed"]
    first, second = lines("models list", {"models": [good, broken]})
    assert first.split() == ["water", "1.0.0", "bundle", "Water"] and second.endswith("model.json is missing")
    assert list(lines("models describe", {"summary": ["model     water"], "document": {"raw": 1}})) == [
        "model     water"
    ]
    installed = {"reference": "water@1.0.0", "path": "/models/water", "already_installed": False, "needs": []}
    assert list(lines("models install", installed)) == ["water@1.0.0 is installed in /models/water"]
    (again,) = lines("models install", {**installed, "already_installed": True})
    assert "already" in again
    encoder = {"reference": "tiny@1.0.0", "path": "/models/tiny", "already_installed": True}
    assert list(lines("models install", {**installed, "needs": [encoder]})) == [
        "tiny@1.0.0 is already installed in /models/tiny",
        "water@1.0.0 is installed in /models/water",
    ]
    assert list(lines("models remove", {"reference": "water@1.0.0"})) == ["water@1.0.0 is removed"]
    check = {"state": "agrees", "sentence": "onnxruntime fp32 agrees"}
    first, _ = lines("models verify", {"reference": "w@1", "ok": False, "checks": [check]})
    assert first == "w@1: NOT in order"
