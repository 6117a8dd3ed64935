"""Where results go, and which names are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backend.geo.writer import RasterProfile
from backend.protocol.errors import InputError, OutputError, ParameterError, ResumeError
from backend.protocol.jobs import AreaSpec, GridSpec, InputSpec, MaskSpec, SegmentJob
from backend.tasks.outputs import check_free, check_missing, check_outputs, space_warning
from backend.tasks.segment import files


def check(folder: Path, **fields: object) -> None:
    job = replace(SegmentJob((InputSpec("ms", ("a.tif",)),), ("m",), str(folder / "out.tif")), **fields)
    check_outputs(job, files(job))


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
        check(tmp_path, **fields)
    check(tmp_path)


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
    profile = RasterProfile("uint8")
    assert space_warning(tmp_path, 1000, [profile]) == ""
    assert "2000000000.0 GB are needed" in space_warning(tmp_path, 10**18, [profile])
    assert "8000000000.0 GB" in space_warning(tmp_path, 10**18, [replace(profile, dtype="float32")])
