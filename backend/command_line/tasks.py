"""Options of tasks over a scene beyond those that all share: of their inputs and of their results."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from backend.command_line.parser import Parser
from backend.command_line.values import count_for, number_for
from backend.protocol.errors import ParameterError
from backend.protocol.jobs import AssessJob, ChangeJob, DesignJob, LabelSpec, LearnJob

Group = argparse._ArgumentGroup
ROLE = "role"  # where the parser keeps whether it is behind --before or --after


def add_number(
    group: Group,
    option: str,
    metavar: str,
    help_text: str,
    default: float | None,
    reader: Callable[[str], Callable[[str], float]] = number_for,
) -> None:
    """Add an option whose value is a number."""
    group.add_argument(option, type=reader(option), default=default, metavar=metavar, help=help_text)


class _Moment(argparse.Action):
    """An option without a value: the rasters behind it are of one of two dates."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        setattr(namespace, ROLE, self.const)


class _Dated(argparse.Action):
    """A raster, with the date that was said before it."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        role = getattr(namespace, ROLE, None)
        if role and "role=" not in values.partition("::")[2]:
            values += f"{';' if '::' in values else '::'}role={role}"
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), values])


def add_inputs(inputs: Group, modalities: Sequence[tuple[str, str]], dated: bool = False) -> None:
    """Add one option for each modality.

    Args:
        modalities: name and title of each.
        dated: whether rasters of two dates are told apart by --before and --after in front of them.
    """
    if dated:
        for role, title in (("before", "earlier"), ("after", "later")):
            help_text = f"the rasters named behind it are of the {title} date"
            inputs.add_argument(f"--{role}", action=_Moment, nargs=0, const=role, default=None, help=help_text)
    action = _Dated if dated else "append"
    for modality, title in modalities:
        inputs.add_argument(f"--{modality}", action=action, default=[], metavar="PATH", help=title)


def add_change_outputs(outputs: Group) -> None:
    """What `change` writes."""
    outputs.add_argument(
        "--output",
        metavar="OUT.tif",
        help="classes of change, or with an encoder as the model 1 - cosine of its embeddings, 0 to 2; always needed",
    )
    outputs.add_argument("--confidence", metavar="CONF.tif", help="probability of the class that was chosen")
    outputs.add_argument("--probabilities", metavar="PROB.tif", help="probability of change")
    outputs.add_argument(
        "--changed", metavar="CHANGED.tif", help="with an encoder: 1 where the difference reaches the threshold"
    )
    outputs.add_argument(
        "--threshold",
        default="otsu",
        metavar="otsu|percentile:P|NUMBER",
        help="for --changed: what separates the differences best, a percentile of them, or a number from 0 to 2",
    )
    outputs.add_argument("--feature", metavar="NAME", help="with an encoder: its map; default: that of all inputs")
    outputs.add_argument("--polygons", metavar="OUT.gpkg", help="polygons of the classes")
    add_number(outputs, "--min-area", "M2", "minimum mapping unit in square metres", 0.0)
    add_number(outputs, "--simplify", "PX", "simplify polygon outlines, in pixels", 0.0)


def change_job(found: argparse.Namespace, common: dict[str, Any]) -> ChangeJob:
    """The job behind the options of `change`."""
    return ChangeJob(
        **common,
        changed=found.changed,
        threshold=found.threshold,
        confidence=found.confidence,
        probabilities=found.probabilities,
        polygons=found.polygons,
        feature=found.feature,
        min_area=found.min_area,
        simplify=found.simplify,
    )


def add_learning(parser: Parser) -> None:
    """What `learn` reads and makes, beside the map."""
    labels = parser.add_argument_group("labels")
    labels.add_argument("--labels", metavar="LABELS.gpkg", help="points, lines or polygons in any CRS")
    labels.add_argument("--field", metavar="NAME", help="whose values are the classes")
    labels.add_argument("--layer", default="", metavar="NAME", help="of the file; default: its first one")
    labels.add_argument("--save", metavar="NAME", help="of the new model, which is installed")
    labels.add_argument("--feature", metavar="NAME", help="map of the encoder; default: the one that joins all inputs")
    parser.needs["labels"] = "labels", "add them, as in --labels labels.gpkg --field class"
    parser.needs["field"] = "the field of the classes", "add it, as in --field class"
    parser.needs["save"] = "a name for what is learned", "add one, as in --save my-orchards"


def learn_job(found: argparse.Namespace, common: dict[str, Any]) -> LearnJob:
    """The job behind the options of `learn`."""
    return LearnJob(
        **common,
        labels=LabelSpec(found.labels, found.field, found.layer),
        save=found.save,
        feature=found.feature,
        confidence=found.confidence,
        probabilities=found.probabilities,
        polygons=found.polygons,
        min_area=found.min_area,
        simplify=found.simplify,
    )


def add_assessment(parser: Parser) -> None:
    """What `assess` reads and writes."""
    parser.add_argument("map", nargs="?", metavar="MAP", help="class raster, one band of bytes")
    parser.needs["map"] = "a map", "add the path of a class raster"
    compare = parser.add_argument_group("comparing with references")
    compare.add_argument("--reference", metavar="R.gpkg", help="points, lines or polygons in any CRS")
    compare.add_argument("--field", metavar="NAME", help="what is there: names or values of the map's classes")
    compare.add_argument("--layer", default="", metavar="NAME", help="of the file; default: its first one")
    compare.add_argument("--table", metavar="OUT.csv", help="matrix, accuracies, areas")
    compare.add_argument("--picture", metavar="OUT.svg", help="the matrix as a picture")
    draw = parser.add_argument_group("drawing a sample to label")
    draw.add_argument("--points", metavar="OUT.gpkg", help="stratified random points, to be labelled")
    add_number(draw, "--count", "N", "points in all", 300, count_for)
    add_number(draw, "--least", "N", "points of each class", 30, count_for)
    add_number(draw, "--seed", "N", "of the draw", 0, count_for)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def assess_job(found: argparse.Namespace) -> AssessJob | DesignJob:
    """The job behind the options of `assess`."""
    if (found.points is None) == (found.reference is None):
        raise ParameterError(
            "it is not clear what to do",
            "" if found.points is None else "a sample is drawn before there are references",
            "add either --reference R.gpkg --field NAME, or --points OUT.gpkg",
        )
    if found.points is not None:
        return DesignJob(found.map, found.points, int(found.count), int(found.least), int(found.seed))
    if found.field is None:
        raise ParameterError("the field of the references was not named", "", "add it, as in --field class")
    return AssessJob(found.map, LabelSpec(found.reference, found.field, found.layer), found.table, found.picture)
