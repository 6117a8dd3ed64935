"""Command line options into requests; see the contract of names in docs/commands.md."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from backend import __version__
from backend.protocol.errors import ParameterError
from backend.protocol.jobs import (
    MODALITIES,
    AreaSpec,
    ComputeSpec,
    EmbedJob,
    GridSpec,
    InputSpec,
    InstallJob,
    MaskSpec,
    SceneJob,
    SegmentJob,
)

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True)
class Arguments:
    """What was asked for.

    Attributes:
        command: "segment", "plan", "inspect", "models list", …
        request: the job, or what the query takes.
    """

    command: str
    request: Any


class _Parser(argparse.ArgumentParser):
    """Reports wrong arguments the way all other errors are reported."""

    def error(self, message: str) -> NoReturn:
        raise ParameterError(message, "", f'"{self.prog} --help" lists what there is')


def parse(arguments: Sequence[str]) -> Arguments:
    """The request behind command line arguments.

    Raises:
        ParameterError: an option is unknown, missing or has no usable value.
        SystemExit: help or the version was asked for and printed.
    """
    found = _parser().parse_args(_with_numbers_joined(arguments))
    if found.command == "models":
        return _models(found)
    if found.command == "inspect":
        return Arguments("inspect", tuple(parse_input("raster", text) for text in found.raster))
    return Arguments(found.command, scene_job(found))


def _with_numbers_joined(arguments: Sequence[str]) -> list[str]:
    """The same arguments, "--extent -3,40,2,44" written as one: argparse takes a leading minus for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in ("--extent", "--mask-values") and not argument.startswith("--"):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("earthprism", description="Maps from rasters of any sensor, on this machine.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    inspect = commands.add_parser("inspect", help="what a raster is: grid, bands, sensor, units, dates, problems")
    inspect.add_argument(
        "raster", nargs="+", metavar="RASTER", help="path, with settings after :: as for --ms; a.tif|b.tif is one input"
    )
    inspect.add_argument("--json", action="store_true", help="one JSON object on stdout")
    _add_models(commands.add_parser("models", help="list, describe, verify, install or remove model packages"))
    for task, (title, _, _) in TASKS.items():
        _add_scene(commands.add_parser(task, help=title), task)
    plan = commands.add_parser("plan", help="tiles, memory and time of a task; nothing is written")
    tasks = plan.add_subparsers(dest="task", required=True, metavar="TASK")
    for task, (title, _, _) in TASKS.items():
        _add_scene(tasks.add_parser(task, help=f"plan: {title}"), task)
    commands.add_parser("serve", help="the backend for QGIS: JSON lines over stdin and stdout")
    return parser


def _add_models(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, help_text, takes in (
        ("list", "all packages", None),
        ("describe", "one package", "NAME"),
        ("verify", "check digests and golden outputs", "NAME"),
        ("install", "take a folder, zip or URL", "PATH|URL"),
        ("remove", "delete a package", "NAME"),
    ):
        action = actions.add_parser(name, help=help_text)
        if takes:
            action.add_argument("name", metavar=takes)
        action.add_argument("--json", action="store_true", help="one JSON object on stdout")


def _add_scene(parser: argparse.ArgumentParser, task: str) -> None:
    parser.set_defaults(task=task)
    inputs = parser.add_argument_group(
        "inputs",
        "PATH may be followed by ::sensor=NAME;date=YYYY-MM-DD;bands=B4/B3/B2;unit=db;offset=-1000;scale=0.0001;"
        "nodata=0. Repeat an option for a time series; join the tiles of a mosaic or the files of the bands as in "
        "a.tif|b.tif.",
    )
    for modality, title in (
        ("hr", "high-resolution optical"),
        ("ms", "multispectral"),
        ("sar", "SAR"),
        ("raster", "any other sensor"),
    ):
        inputs.add_argument(f"--{modality}", action="append", default=[], metavar="PATH", help=title)
    parser.add_argument(
        "--model", action="append", default=[], metavar="NAME", help="package; repeat for heads of one encoder"
    )
    outputs = parser.add_argument_group("outputs")
    TASKS[task][1](outputs)
    exists = outputs.add_mutually_exclusive_group()
    exists.add_argument("--resume", action="store_true", help="continue an unfinished run")
    exists.add_argument("--overwrite", action="store_true", help="start again")
    area = parser.add_argument_group("area and grid")
    area.add_argument("--aoi", metavar="FILE", help="polygons of interest, any CRS")
    area.add_argument("--extent", metavar="XMIN,YMIN,XMAX,YMAX")
    area.add_argument("--extent-crs", metavar="CRS")
    area.add_argument("--mask", metavar="RASTER", help="cloud mask or scene classification")
    area.add_argument("--mask-values", metavar="V,V,…", help="values that count as invalid; default: all but 0")
    area.add_argument("--grid", default="finest", metavar="finest|model|PATH")
    area.add_argument("--crs", help="CRS of the result")
    area.add_argument("--resolution", type=float, help="pixel size of the result in units of its CRS")
    compute = parser.add_argument_group("computing")
    compute.add_argument("--device", default="auto", metavar="auto|cpu|cuda:N|mps")
    compute.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16", "int8"))
    compute.add_argument("--runtime", default="auto", choices=("auto", "onnxruntime", "torch"))
    compute.add_argument("--memory", default="2GB", metavar="SIZE", help="budget of the whole process")
    compute.add_argument("--batch", type=int, default=0, metavar="N", help="windows per call; 0 chooses")
    compute.add_argument(
        "--overlap", type=float, metavar="SHARE", help="overlap of neighbouring windows; default: the model's"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout at the end")


def _add_map_outputs(outputs: argparse._ArgumentGroup) -> None:
    outputs.add_argument("--output", required=True, metavar="OUT.tif", help="class raster")
    outputs.add_argument("--confidence", metavar="CONF.tif", help="probability of the class that was chosen")
    outputs.add_argument("--probabilities", metavar="PROB.tif", help="probability of every class")
    outputs.add_argument("--polygons", metavar="OUT.gpkg", help="class polygons")
    outputs.add_argument(
        "--min-area", type=float, default=0.0, metavar="M2", help="minimum mapping unit in square metres"
    )
    outputs.add_argument(
        "--simplify", type=float, default=0.0, metavar="PX", help="simplify polygon outlines, in pixels"
    )


def _add_embedding_outputs(outputs: argparse._ArgumentGroup) -> None:
    outputs.add_argument("--output", required=True, metavar="EMB.tif", help="one band per number of the embedding")
    outputs.add_argument("--feature", metavar="NAME", help="map of the encoder; default: the one that joins all inputs")


def _models(found: argparse.Namespace) -> Arguments:
    command = f"models {found.action}"
    if found.action == "list":
        return Arguments(command, None)
    return Arguments(command, InstallJob(found.name) if found.action == "install" else found.name)


def scene_job(found: argparse.Namespace) -> SceneJob:
    """The job behind the options of `segment`, `embed` and their plans."""
    inputs = tuple(parse_input(modality, text) for modality in MODALITIES for text in getattr(found, modality))
    extent = None if found.extent is None else parse_extent(found.extent)
    _check_companions(found)
    mask = None
    if found.mask is not None:
        values = _integers(found.mask_values) if found.mask_values is not None else ()
        mask = MaskSpec(found.mask, values)
    common: dict[str, Any] = {
        "inputs": inputs,
        "models": tuple(found.model),
        "output": found.output,
        "area": AreaSpec(found.aoi, extent, found.extent_crs),
        "mask": mask,
        "grid": GridSpec(found.grid, found.crs, found.resolution),
        "compute": ComputeSpec(found.device, found.precision, found.runtime, parse_size(found.memory), found.batch),
        "overlap": found.overlap,
        "if_exists": "resume" if found.resume else "overwrite" if found.overwrite else "refuse",
    }
    return TASKS[found.task][2](found, common)


def _segment_job(found: argparse.Namespace, common: dict[str, Any]) -> SegmentJob:
    return SegmentJob(
        **common,
        confidence=found.confidence,
        probabilities=found.probabilities,
        polygons=found.polygons,
        min_area=found.min_area,
        simplify=found.simplify,
    )


def _embed_job(found: argparse.Namespace, common: dict[str, Any]) -> EmbedJob:
    return EmbedJob(**common, feature=found.feature)


# Title, the options of its results, and the job made of them, for each task over a scene.
TASKS: dict[
    str,
    tuple[
        str,
        Callable[[argparse._ArgumentGroup], None],
        Callable[[argparse.Namespace, dict[str, Any]], SceneJob],
    ],
] = {
    "segment": ("class map of a scene", _add_map_outputs, _segment_job),
    "embed": ("what an encoder sees, as a raster of numbers", _add_embedding_outputs, _embed_job),
}


def _check_companions(found: argparse.Namespace) -> None:
    """Refuse options that would be without effect."""
    for option, value, companion, present in (
        ("--mask-values", found.mask_values, "--mask", found.mask is not None),
        ("--extent-crs", found.extent_crs, "--extent", found.extent is not None),
        ("--simplify", getattr(found, "simplify", None), "--polygons", getattr(found, "polygons", None) is not None),
    ):
        if value not in (None, 0.0) and not present:
            raise ParameterError(f"{option} needs {companion}", "", f"add {companion} or leave {option} out")


def parse_input(modality: str, text: str) -> InputSpec:
    """An input from "PATH::sensor=NAME;date=…;bands=B4/B3/B2".

    Raises:
        ParameterError: an unknown key or an unusable value.
    """
    path, _, options = text.partition("::")
    spec = InputSpec(modality, _split_paths(path))
    for option in filter(None, options.split(";")):
        key, equals, value = option.partition("=")
        if not equals or not value.strip():
            raise ParameterError(
                f'"{option}" in --{modality} {path} is no option', "", "write it as in ::date=2024-05-01"
            )
        spec = _with_option(spec, key.strip(), value.strip())
    return spec


def _with_option(spec: InputSpec, key: str, value: str) -> InputSpec:
    match key:
        case "sensor":
            return replace(spec, sensor=value)
        case "date":
            if not re.fullmatch(r"\d{4}-\d{2}-\d{2}(T[0-9:.]+Z?)?", value):
                raise ParameterError(f'"{value}" is no date', "", "write it as YYYY-MM-DD")
            return replace(spec, date=value)
        case "bands":
            return replace(spec, bands=tuple(value.split("/")))
        case "unit":
            return replace(spec, unit=value)
        case "offset":
            return replace(spec, offset=_finite(value, key))
        case "scale":
            return replace(spec, scale=_finite(value, key))
        case "nodata":
            return replace(spec, nodata=_number(value, key))
        case "role":
            if value not in ("before", "after"):
                raise ParameterError(f'"{value}" is no role of an input', "", "write ::role=before or ::role=after")
            return replace(spec, role=value)
    raise ParameterError(
        f'"{key}" is no option of an input', "there are sensor, date, bands, unit, offset, scale, nodata, role"
    )


def parse_size(text: str) -> int:
    """Bytes from "2GB", "800 MB" or a plain number.

    Raises:
        ParameterError: when it is none.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if match is None or match[2].upper() not in _UNITS:
        raise ParameterError(f'"{text}" is no amount of memory', "", "write it as in 2GB or 800MB")
    return round(float(match[1]) * _UNITS[match[2].upper()])


def _split_paths(text: str) -> tuple[str, ...]:
    paths = tuple(part for part in text.split("|") if part)
    if not paths:
        raise ParameterError("a path is empty", "", "give the name of a raster")
    return paths


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise ParameterError(f'"{text}" is no number for {name}', "", "write it as in 10 or 0.0001") from error
    return value


def _finite(text: str, name: str) -> float:
    value = _number(text, name)
    if not math.isfinite(value) or (name == "scale" and value == 0):
        raise ParameterError(f"{name} {text} makes no sense", "numbers could not be converted with it")
    return value


def parse_extent(text: str) -> tuple[float, float, float, float]:
    """Four numbers from "XMIN,YMIN,XMAX,YMAX".

    Raises:
        ParameterError: when there are not four.
    """
    parts = [_number(part, "--extent") for part in text.split(",")]
    if len(parts) != 4:
        raise ParameterError("--extent needs four numbers", f"it has {len(parts)}", "write it as XMIN,YMIN,XMAX,YMAX")
    return parts[0], parts[1], parts[2], parts[3]


def _integers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        numbers = ()
    if not numbers:
        raise ParameterError(f'"{text}" is no list of mask values', "", "write whole numbers, as in 3,8,9")
    return numbers
