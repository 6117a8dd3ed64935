"""Options into jobs, and one clear sentence for whatever cannot be understood."""

from __future__ import annotations

import pytest

from backend.command_line.arguments import parse
from backend.protocol.errors import ParameterError
from backend.protocol.jobs import (
    AreaSpec,
    ComputeSpec,
    EmbedJob,
    GridSpec,
    InputSpec,
    InstallJob,
    MaskSpec,
    SegmentJob,
)

EVERYTHING = """
segment --ms a.tif::date=2024-05-01;bands=B4/-;offset=-1000;scale=1e-4;nodata=nan;unit=dn --ms b.tif|c.tif
--sar s.tif::sensor=sentinel-1-grd --model one --model two --output o.tif --confidence c2.tif --probabilities p.tif
--polygons v.gpkg --min-area 400 --simplify 1.5 --resume --aoi a.geojson --extent -3,40,2,44 --extent-crs EPSG:4326
--mask m.tif --mask-values 3,8 --grid model --crs EPSG:3857 --resolution 20 --device cuda:1 --precision bf16
--runtime torch --memory 1.5GiB --batch 8 --overlap 0.25
"""
# Words of argparse, of Python's types and of its exceptions: none of them is meant for people.
FOREIGN = ("argument ", "arguments are", "invalid ", "expected", "unrecognized", "not allowed", "could not convert")


def refused(text: str) -> str:
    """The sentence on arguments that cannot be understood."""
    with pytest.raises(ParameterError) as caught:
        parse(text.split())
    sentence = caught.value.sentence()
    assert not [word for word in FOREIGN if word in sentence.lower()], sentence
    return sentence


def test_a_job_with_everything() -> None:
    found = parse(EVERYTHING.split())
    job = found.request
    assert found.command == "segment" and isinstance(job, SegmentJob)
    first, second, radar = job.inputs
    assert (first.date, first.bands, first.offset, first.scale, first.unit) == (
        "2024-05-01", ("B4", "-"), -1000.0, 1e-4, "dn",
    )  # fmt: skip
    assert first.nodata != first.nodata  # NaN
    assert second == InputSpec("ms", ("b.tif", "c.tif")) and radar == InputSpec("sar", ("s.tif",), "sentinel-1-grd")
    assert (job.models, job.output, job.confidence, job.probabilities, job.polygons) == (
        ("one", "two"), "o.tif", "c2.tif", "p.tif", "v.gpkg",
    )  # fmt: skip
    assert job.area == AreaSpec("a.geojson", (-3.0, 40.0, 2.0, 44.0), "EPSG:4326")
    assert job.mask == MaskSpec("m.tif", (3, 8)) and job.grid == GridSpec("model", "EPSG:3857", 20.0)
    assert job.compute == ComputeSpec("cuda:1", "bf16", "torch", 3 << 29, 8)
    assert (job.min_area, job.simplify, job.overlap, job.if_exists) == (400.0, 1.5, 0.25, "resume")


def test_what_is_not_said_has_its_default() -> None:
    job = parse(["segment", "--output", "o.tif"]).request
    assert job == SegmentJob((), (), "o.tif", compute=ComputeSpec(memory=2_000_000_000))


def test_other_commands() -> None:
    assert isinstance(parse(["embed", "--output", "e.tif", "--feature", "map"]).request, EmbedJob)
    planned = parse(["plan", "segment", "--output", "o.tif"])
    assert planned.command == "plan" and isinstance(planned.request, SegmentJob)
    assert parse(["inspect", "a.tif", "b.tif::unit=db"]).request == (
        InputSpec("raster", ("a.tif",)), InputSpec("raster", ("b.tif",), unit="db"),
    )  # fmt: skip
    assert parse(["models", "install", "x.zip"]).request == InstallJob("x.zip")
    assert parse(["models", "verify", "water"]).request == "water"
    assert parse(["models", "list", "--json"]).command == "models list"


def test_help_and_version_end_the_process_politely(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("--help", "--version", "segment --help", "models verify --help", "inspect --help"):
        with pytest.raises(SystemExit) as caught:
            parse(text.split())
        assert caught.value.code == 0 and capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["needs a command", "inspect"]),
        ("segmnt", ['"segmnt" is no command', 'did you mean "segment"?']),
        ("--loud", ["no option --loud"]),
        ("plan", ["needs a task", "segment"]),
        ("plan everything", ['"everything" is no task', "segment"]),
        ("models", ["needs an action", "verify"]),
        ("models show", ['"show" is no action', "describe"]),
        ("models describe", ["needs a package", "describe NAME"]),
        ("models list water", ['"water" is a word too many']),
        ("inspect", ["needs a raster"]),
        ("inspect a.tif --josn", ["no option --josn", "did you mean --json?"]),
        ("segment", ["needs a name for the result", "--output"]),
        ("segment --outptu o.tif", ["no option --outptu", "did you mean --output?"]),
        ("segment --out o.tif", ["no option --out"]),
        ("segment -o o.tif", ["no option -o"]),
        ("segment --output", ["--output needs a value", "OUT.tif"]),
        ("segment --ms --output o.tif", ["--ms needs a value", "PATH"]),
        ("segment --output o.tif --json=yes", ["--json takes no value"]),
        ("segment --output o.tif my scene.tif", ['"my" is a word too many', "quote"]),
        ("segment --output o.tif --resume --overwrite", ["--resume and --overwrite"]),
        ("segment --output o.tif --precision fp64", ['"fp64" is no value of --precision', "fp32"]),
        ("segment --output o.tif --runtime onnx", ['"onnx" is no value of --runtime', "onnxruntime"]),
        ("segment --output o.tif --batch 2.5", ['"2.5" is no number for --batch', "whole number"]),
        ("segment --output o.tif --batch -1", ['"-1" is no number for --batch']),
        ("segment --output o.tif --batch 99999999999", ["no number for --batch"]),
        ("segment --output o.tif --min-area big", ['"big" is no number for --min-area']),
        ("segment --output o.tif --overlap half", ['"half" is no number for --overlap']),
        ("segment --output o.tif --resolution 10m", ['"10m" is no number for --resolution']),
        ("segment --output o.tif --memory lots", ['"lots" is no amount of memory', "2GB"]),
        ("segment --output o.tif --extent 1,2,3 --extent-crs EPSG:4326", ["--extent needs four numbers", "3"]),
        ("segment --output o.tif --extent 1,2,3,x --extent-crs EPSG:4326", ['"x" is no number']),
        ("segment --output o.tif --extent-crs EPSG:4326", ["--extent-crs needs --extent"]),
        ("segment --output o.tif --mask-values 3", ["--mask-values needs --mask"]),
        ("segment --output o.tif --mask m.tif --mask-values clouds", ["clouds", "mask values"]),
        ("segment --output o.tif --simplify 2", ["--simplify needs --polygons"]),
        ("segment --output o.tif --ms a.tif::date", ['"date" in --ms a.tif']),
        ("segment --output o.tif --ms a.tif::date=May", ['"May" is no date']),
        ("segment --output o.tif --ms a.tif::dat=2024-05-01", ['"dat" is no option', "date"]),
        ("segment --output o.tif --ms a.tif::scale=0", ["scale 0 makes no sense"]),
        ("segment --output o.tif --ms a.tif::offset=inf", ["offset inf makes no sense"]),
        ("segment --output o.tif --ms a.tif::role=middle", ['"middle" is no role']),
        ("segment --output o.tif --ms |", ["a path is empty"]),
    ],
)
def test_what_cannot_be_understood(text: str, words: list[str]) -> None:
    sentence = refused(text)
    assert all(word in sentence for word in words), sentence
