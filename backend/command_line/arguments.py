"""Command line options into requests; see the contract of names in docs/commands.md."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from backend import __version__
from backend.command_line.parser import Parser
from backend.command_line.tasks import (
    add_assessment,
    add_change_outputs,
    add_inputs,
    add_learning,
    add_number,
    assess_job,
    change_job,
    learn_job,
)
from backend.command_line.values import count_for, parse_extent, parse_input, parse_integers, parse_size
from backend.protocol.errors import ParameterError
from backend.protocol.jobs import (
    MODALITIES,
    AreaSpec,
    ComputeSpec,
    EmbedJob,
    ExportJob,
    GridSpec,
    InstallJob,
    MaskSpec,
    SceneJob,
    SegmentJob,
)

RUNTIMES = ("onnxruntime", "torch")


@dataclass(frozen=True)
class Arguments:
    """What was asked for.

    Attributes:
        command: "segment", "plan", "inspect", "models list", …
        request: the job, or what the query takes.
    """

    command: str
    request: Any


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
    if found.command == "export":
        return Arguments("export", ExportJob(found.run, found.to))
    if found.command == "assess":
        return Arguments("assess", assess_job(found))
    if found.command == "learn":
        return Arguments("learn", learn_job(found, common_of(found)))
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


def _parser() -> Parser:
    parser = Parser("earthprism", description="Maps from rasters of any sensor, on this machine.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    inspect = commands.add_parser(
        "inspect",
        help="what a raster is: grid, bands, sensor, units, dates, problems",
        usage="earthprism inspect RASTER [RASTER …] [--json]",
    )
    inspect.needs["raster"] = "a raster", "add the path of one"
    inspect.add_argument(
        "raster", nargs="*", metavar="RASTER", help="path, with settings after :: as for --ms; a.tif|b.tif is one input"
    )
    inspect.add_argument("--json", action="store_true", help="one JSON object on stdout")
    _add_models(commands.add_parser("models", help="list, describe, verify, install or remove model packages"))
    for task, (title, _, _) in TASKS.items():
        _add_scene(commands.add_parser(task, help=title), task)
    learn = commands.add_parser("learn", help="a model from labels, and the map of the scene by it")
    _add_scene(learn, "learn")
    assess = commands.add_parser("assess", help="how right a class map is: a sample to label, and what it says")
    add_assessment(assess)
    export = commands.add_parser("export", help="a run's results with styles and a table of areas, in a folder")
    export.add_argument("run", nargs="?", metavar="RUN", help="main result of a run, or its .run.json")
    export.add_argument("--to", metavar="FOLDER", help="new or empty")
    export.add_argument("--json", action="store_true", help="one JSON object on stdout")
    export.needs["run"] = "a run", "add its main result, as in earthprism export water.tif --to handover"
    export.needs["to"] = "a folder", "add it, as in --to handover"
    plan = commands.add_parser("plan", help="tiles, memory and time of a task; nothing is written")
    tasks = plan.add_subparsers(dest="task", metavar="TASK")
    for task, (title, _, _) in TASKS.items():
        _add_scene(tasks.add_parser(task, help=f"plan: {title}"), task)
    commands.add_parser("serve", help="the backend for QGIS: JSON lines over stdin and stdout")
    parser.needs["command"] = "a command", f"choose one of {', '.join(commands.choices)}"
    plan.needs["task"] = "a task", f"choose one of {', '.join(tasks.choices)}"
    return parser


def _add_models(parser: Parser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    for name, help_text, takes in (
        ("list", "all packages", None),
        ("describe", "one package", "NAME"),
        ("verify", "check digests and golden outputs", "NAME"),
        ("install", "take a folder, zip or URL", "PATH|URL"),
        ("remove", "delete a package", "NAME"),
    ):
        usage = " ".join(filter(None, ("earthprism models", name, takes, "[--json]")))
        action = actions.add_parser(name, help=help_text, usage=usage)
        if takes:
            action.add_argument("name", nargs="?", metavar=takes)
            action.needs["name"] = "a package", f"write it as in {action.prog} {takes}"
        action.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.needs["action"] = "an action", f"choose one of {', '.join(actions.choices)}"


def _add_scene(parser: Parser, task: str) -> None:
    parser.set_defaults(task=task)
    if task in TASKS:
        parser.needs["output"] = "a name for the result", "add it, as in --output out.tif"
    inputs = parser.add_argument_group(
        "inputs",
        "PATH may be followed by ::sensor=NAME;date=YYYY-MM-DD;bands=B4/B3/B2;unit=db;offset=-1000;scale=0.0001;"
        "nodata=0. Repeat an option for a time series; join the tiles of a mosaic or the files of the bands as in "
        "a.tif|b.tif.",
    )
    modalities = (
        ("hr", "high-resolution optical"),
        ("ms", "multispectral"),
        ("sar", "SAR"),
        ("raster", "any other sensor"),
    )
    add_inputs(inputs, modalities, dated=task == "change")
    parser.add_argument(
        "--model", action="append", default=[], metavar="NAME", help="package; repeat for heads of one encoder"
    )
    outputs = parser.add_argument_group("outputs")
    if task in TASKS:
        TASKS[task][1](outputs)
    else:
        add_learning(parser)
        _add_map_outputs(outputs)
    outputs.add_argument("--resume", action="store_true", help="continue an unfinished run")
    outputs.add_argument("--overwrite", action="store_true", help="start again")
    area = parser.add_argument_group("area and grid")
    area.add_argument("--aoi", metavar="FILE", help="polygons of interest, any CRS")
    area.add_argument("--extent", metavar="XMIN,YMIN,XMAX,YMAX")
    area.add_argument("--extent-crs", metavar="CRS")
    area.add_argument("--mask", metavar="RASTER", help="cloud mask or scene classification")
    area.add_argument("--mask-values", metavar="V,V,…", help="values that count as invalid; default: all but 0")
    area.add_argument(
        "--grid",
        default="finest",
        metavar="finest|model|PATH",
        help="grid of the result: the main input's finest one, one of pixels that the model knows, or a raster's; the "
        "main input is the first given in the model's order",
    )
    area.add_argument("--crs", metavar="CRS", help="CRS of the result")
    add_number(area, "--resolution", "SIZE", "pixel size of the result in units of its CRS", None)
    compute = parser.add_argument_group("computing")
    compute.add_argument("--device", default="auto", metavar="auto|cpu|cuda:N|mps")
    for option, choices in (("--precision", ("auto", "fp32", "bf16", "int8")), ("--runtime", ("auto", *RUNTIMES))):
        compute.add_argument(option, default="auto", choices=choices, metavar="|".join(choices))
    compute.add_argument("--memory", default="2GB", metavar="SIZE", help="budget of the whole process")
    add_number(compute, "--batch", "N", "windows per call; 0 chooses", 0, count_for)
    add_number(compute, "--overlap", "SHARE", "overlap of neighbouring windows; default: the model's", None)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout at the end")


def _add_map_outputs(outputs: argparse._ArgumentGroup) -> None:
    outputs.add_argument("--output", metavar="OUT.tif", help="class raster")
    outputs.add_argument("--confidence", metavar="CONF.tif", help="probability of the class that was chosen")
    outputs.add_argument("--probabilities", metavar="PROB.tif", help="probability of every class")
    outputs.add_argument("--polygons", metavar="OUT.gpkg", help="class polygons")
    add_number(outputs, "--min-area", "M2", "minimum mapping unit in square metres", 0.0)
    add_number(outputs, "--simplify", "PX", "simplify polygon outlines, in pixels", 0.0)


def _add_embedding_outputs(outputs: argparse._ArgumentGroup) -> None:
    outputs.add_argument("--output", metavar="EMB.tif", help="one band per number of the embedding; always needed")
    outputs.add_argument("--feature", metavar="NAME", help="map of the encoder; default: the one that joins all inputs")


def _models(found: argparse.Namespace) -> Arguments:
    command = f"models {found.action}"
    if found.action == "list":
        return Arguments(command, None)
    return Arguments(command, InstallJob(found.name) if found.action == "install" else found.name)


def scene_job(found: argparse.Namespace) -> SceneJob:
    """The job behind the options of a task over a scene, or of its plan."""
    return TASKS[found.task][2](found, common_of(found))


def common_of(found: argparse.Namespace) -> dict[str, Any]:
    """What all jobs over a scene have in common."""
    inputs = tuple(parse_input(modality, text) for modality in MODALITIES for text in getattr(found, modality))
    extent = None if found.extent is None else parse_extent(found.extent)
    _check_companions(found)
    mask = None
    if found.mask is not None:
        values = parse_integers(found.mask_values) if found.mask_values is not None else ()
        mask = MaskSpec(found.mask, values)
    return {
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
    "change": ("what changed between two dates", add_change_outputs, change_job),
}


def _check_companions(found: argparse.Namespace) -> None:
    """Refuse options that contradict each other or would be without effect."""
    if found.resume and found.overwrite:
        raise ParameterError("--resume and --overwrite contradict each other", "", "give one of them")
    for option, value, companion, present in (
        ("--mask-values", found.mask_values, "--mask", found.mask is not None),
        ("--extent-crs", found.extent_crs, "--extent", found.extent is not None),
        ("--simplify", getattr(found, "simplify", None), "--polygons", getattr(found, "polygons", None) is not None),
    ):
        if value not in (None, 0.0) and not present:
            raise ParameterError(f"{option} needs {companion}", "", f"add {companion} or leave {option} out")
