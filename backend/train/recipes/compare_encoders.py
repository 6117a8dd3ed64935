"""A trained encoder against the same encoder with random weights, on labelled pictures (docs/evaluation.md)."""

from __future__ import annotations

import csv
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.models import encoders
from backend.protocol.errors import ParameterError
from backend.train import pictures
from backend.train.evaluate import report
from backend.train.evaluate.comparison import PROBES, Compared, compared, predictions
from backend.train.evaluate.features import picture_features
from backend.train.evaluate.labelled import TASKS, scenes

SIZES = {"skysense-v2": 128, "smarties": 224}  # pixels that pictures are fed with; what pre-training feeds
RANDOM = "random"


@dataclass(frozen=True)
class Comparison:
    """What the recipe needs.

    Attributes:
        data: the data kit.
        output: folder of the report.
        weights: safetensors file that pre-training wrote; without it two random draws are compared.
        encoder: name.
        tasks: of `labelled.TASKS`.
        seeds: of folds and draws; results are means over them.
        random_seed: of the random weights; those that pre-training started from.
        size: pixels per side that pictures are fed with; 0 for those of the encoder's pre-training.
    """

    data: Path
    output: Path
    weights: Path | None = None
    encoder: str = "skysense-v2-tiny"
    tasks: tuple[str, ...] = tuple(TASKS)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    random_seed: int = 42
    size: int = 0


def compare_encoders(data: Path, output: Path) -> Comparison:
    """Compare trained with random weights of an encoder by kNN and linear probes on the data kit."""
    return Comparison(data, output)


def run(recipe: Comparison) -> dict[str, Any]:
    """Compare trained with random weights of an encoder; writes report.md and confusion matrices."""
    if not recipe.seeds:
        raise ParameterError("a comparison needs at least one seed")
    random = encoders.build(recipe.encoder, seed=recipe.random_seed)
    other = encoders.build(recipe.encoder, seed=recipe.random_seed + 1)
    trained = encoders.load(recipe.encoder, recipe.weights) if recipe.weights else other
    size = recipe.size or next(size for family, size in SIZES.items() if recipe.encoder.startswith(family))
    names = ("trained" if recipe.weights else "another random", RANDOM)
    rows: list[Compared] = []
    for task in recipe.tasks:
        labelled = scenes(recipe.data, task)
        features = {
            name: picture_features(network, labelled.pictures, size)
            for name, network in zip(names, (trained, random), strict=True)
        }
        rows += compared(labelled, features, recipe.seeds)
        labels, found = predictions(labelled, features[names[0]], PROBES["linear"])
        matrix = report.confusion(labels, found, len(labelled.classes))
        pictures.save(recipe.output / f"confusion-{task}.png", report.confusion_picture(matrix, labelled.classes))
    report.write(recipe.output / "report.md", _text(recipe, names, rows, size))
    return {
        "report": str(recipe.output / "report.md"),
        "rows": [
            {
                "task": row.task,
                "protocol": row.protocol,
                "probe": row.probe,
                **{name: score.to_dict() for name, score in row.scores.items()},
                "difference": row.difference.to_dict(),
            }
            for row in rows
        ],
    }


def _text(recipe: Comparison, names: Sequence[str], rows: Sequence[Compared], size: int) -> str:
    weights = recipe.weights.name if recipe.weights else f"none: another random draw, seed {recipe.random_seed + 1}"
    parts = [
        f"# {recipe.encoder}: trained against random weights\n\n",
        f"Weights: {weights}. Random weights: seed {recipe.random_seed}. Pictures of {size} px, encoder frozen. ",
        "Accuracy with 95 % bootstrap interval over places; folds and draws repeated with seeds ",
        f"{', '.join(map(str, recipe.seeds))}.\n\n",
        "Tested is on pictures of the test splits alone, which no pre-training on the kit reads.\n\n",
    ]
    header = ["protocol", "probe", "test pictures", "places", *names, "difference"]
    for task in dict.fromkeys(row.task for row in rows):
        lines = [
            [r.protocol, r.probe, r.samples, r.places, *(r.scores[name] for name in names), r.difference]
            for r in rows
            if r.task == task
        ]
        parts += [f"## {task}\n\n", report.table(header, lines), "\n", _floors(recipe.data, task)]
        parts += [f"![confusion matrix of the linear probe, fixed split](confusion-{task}.png)\n\n"]
    command = shlex.join(["scripts/python", "-m", "backend.train", *sys.argv[1:]])
    return "".join([*parts, "Command:\n\n", f"    {command}\n"])


def _floors(kit: Path, task: str) -> str:
    """What hand-made features reach on the fixed split."""
    with (kit / "floors.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row and row[0] == f"scene_{task}" and row[3] == "accuracy"]
    fixed = [row for row in rows if "fold" not in row[2]]
    lines = [[row[8], f"{float(row[4]):.3f} ({float(row[5]):.3f}-{float(row[6]):.3f})"] for row in fixed]
    return "Floors on the fixed split:\n\n" + report.table(["hand-made features", "accuracy"], lines) + "\n"
