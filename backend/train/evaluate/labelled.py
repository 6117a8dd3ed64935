"""Labelled pictures of the data kit: scene classification by three tasks."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend.protocol.errors import ParameterError
from backend.train.data.kit import Split, read_splits
from backend.train.data.readers.pictures import read_picture


@dataclass(frozen=True)
class Scenes:
    """Pictures with one label each.

    Attributes:
        task: name.
        classes: names.
        pictures: N of 3 x H x W uint8.
        labels: N integers.
        groups: N, the places; a place is never in training and test.
        train: N bool, whether the fixed split trains on the picture; pre-training may have seen those.
    """

    task: str
    classes: tuple[str, ...]
    pictures: tuple[np.ndarray, ...]
    labels: np.ndarray
    groups: tuple[str, ...]
    train: np.ndarray


def scenes(kit: Path, task: str) -> Scenes:
    """The pictures of a task.

    Raises:
        ParameterError: there is no such task, or the folder is not the kit.
    """
    if task not in TASKS:
        raise ParameterError(f"there is no task {task!r}", f"there is {', '.join(TASKS)}")
    part, label_of = TASKS[task]
    splits = [split for split in read_splits(kit, part, "fixed") if split.split in ("train", "test")]
    names = label_of(kit, splits)
    classes = tuple(sorted(set(names)))
    return Scenes(
        task,
        classes,
        tuple(read_picture(kit / split.path)[0] for split in splits),
        np.array([classes.index(name) for name in names]),
        tuple(split.group for split in splits),
        np.array([split.split == "train" for split in splits]),
    )


def _folders(kit: Path, splits: list[Split]) -> list[str]:
    return [Path(split.path).parent.name for split in splits]


def _rural_urban(kit: Path, splits: list[Split]) -> list[str]:
    with (kit / "rsvqa_lr" / "labels.csv").open(newline="", encoding="utf-8") as file:
        known = {row["image"]: row["rural_urban"] for row in csv.DictReader(file)}
    return [known[Path(split.path).stem] for split in splits]


def _cities(kit: Path, splits: list[Split]) -> list[str]:
    """Of notes such as "city=claremont; year=2016"."""
    return [split.note.partition("city=")[2].partition(";")[0] for split in splits]


TASKS: dict[str, tuple[str, Callable[[Path, list[Split]], list[str]]]] = {
    "eurosat": ("eurosat", _folders),
    "rsvqa_lr": ("rsvqa_lr", _rural_urban),
    "naip_city": ("naip_trees", _cities),
}
