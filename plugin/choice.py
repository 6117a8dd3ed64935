"""What the user chose, and the job that follows from it. No widgets in here."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional, Union

from ..backend.protocol.errors import ParameterError
from ..backend.protocol.jobs import (
    AreaSpec,
    ChangeJob,
    ComputeSpec,
    EmbedJob,
    GridSpec,
    InputSpec,
    LabelSpec,
    LearnJob,
    MaskSpec,
    SceneJob,
    SegmentJob,
)
from .text import translate

SEGMENT, CHANGE, EMBED, LEARN = "segment", "change", "embed", "learn"
TASKS = (SEGMENT, CHANGE, LEARN, EMBED)
BEFORE, AFTER = "before", "after"  # what an input's role says of its date
TOLD_EXAMPLE = "sensor=sentinel-2-l2a; offset=-1000; date=2023-06-15"
# What may be told of a layer, and how it is read.
TOLD: dict[str, Callable[[str], Any]] = {
    "sensor": str, "date": str, "unit": str, "role": str, "offset": float, "scale": float, "nodata": float,
    "bands": lambda text: tuple(text.split("/")),
}  # fmt: skip


@dataclass(frozen=True)
class OutputChoice:
    """Where results go and which ones are made.

    Attributes:
        path: the main result.
        confidence, polygons, probabilities: whether they are made; they lie beside the main result.
        min_area: smallest area in square metres, 0 for any.
        grid: of the result.
        mask: what is left out.
        threshold: of change by an encoder, "" for an automatic one.
        again: start again where a run or a result of this name exists; else an interrupted run goes on.
    """

    path: str
    confidence: bool = True
    polygons: bool = False
    probabilities: bool = False
    min_area: float = 0.0
    grid: GridSpec = field(default_factory=GridSpec)
    mask: Optional[MaskSpec] = None
    threshold: str = ""
    again: bool = False


@dataclass(frozen=True)
class Choice:
    """Everything that a run needs.

    Attributes:
        task: one of `TASKS`.
        inputs: the rasters.
        models: references of model packages.
        labels: what is learned from, for the task `LEARN`.
        save: name of the model that is learned.
        encoder: whether the model is an encoder, which knows no classes.
        area: where to work.
        output: what is written.
        compute: on what.
    """

    task: str
    inputs: tuple[InputSpec, ...]
    models: tuple[str, ...]
    area: AreaSpec
    output: OutputChoice
    compute: ComputeSpec = field(default_factory=ComputeSpec)
    encoder: bool = False
    labels: Optional[LabelSpec] = None
    save: str = ""

    @property
    def lacking(self) -> str:
        """What has to be chosen before a run, in words; "" for nothing."""
        if not self.inputs:
            return translate("Choose at least one layer.")
        if self.task == CHANGE and {spec.role for spec in self.inputs} != {BEFORE, AFTER}:
            return translate("Choose a layer of the earlier date and one of the later date.")
        if self.task == LEARN and self.labels is None:
            return translate("Choose a layer of labels, the field of their classes and a name for the new model.")
        if not self.models:
            return translate("Choose a model.")
        return "" if self.output.path else translate("Choose where the result is saved.")

    def planned(self) -> SceneJob:
        """The job for an estimate: the folder of its result may still have to be made; or the encoder's run."""
        if self.task == LEARN:
            return replace(self, task=EMBED).planned()
        path = Path(self.output.path)
        there = next(folder for folder in path.absolute().parents if folder.is_dir())
        job = replace(self, output=replace(self.output, path=str(there / path.name))).job()
        assert not isinstance(job, LearnJob)
        return job

    def job(self) -> Union[SceneJob, LearnJob]:
        """The job; an interrupted run into the same file goes on."""
        output = self.output
        shared: dict[str, Any] = {
            "inputs": self.inputs, "models": self.models, "output": output.path, "area": self.area, "mask": output.mask,
            "grid": output.grid, "compute": self.compute,
            "if_exists": "overwrite" if output.again else "resume" if parts_of(output.path).exists() else "refuse",
        }  # fmt: skip
        if self.task == EMBED:
            return EmbedJob(**shared)
        shared["polygons"] = beside(output.path, "polygons.gpkg") if output.polygons else None
        shared["min_area"] = output.min_area
        if self.encoder and self.task == CHANGE:  # compares embeddings
            changed, threshold = beside(output.path, "changed.tif"), output.threshold or "otsu"
            return ChangeJob(**shared, changed=changed, threshold=threshold)
        shared["confidence"] = beside(output.path, "confidence.tif") if output.confidence else None
        shared["probabilities"] = beside(output.path, "probabilities.tif") if output.probabilities else None
        if self.task == LEARN and self.labels is not None:
            return LearnJob(**shared, labels=self.labels, save=self.save)
        return ChangeJob(**shared) if self.task == CHANGE else SegmentJob(**shared)


def parts_of(path: str) -> Path:
    """The folder of an unfinished run into a file."""
    return Path(f"{path}.parts")


def beside(path: str, ending: str) -> str:
    """A further result beside the main one: "out.tif" and "out-confidence.tif"."""
    main = Path(path)
    return str(main.with_name(f"{main.stem}-{ending}"))


def suggested_path(folder: Path, layers: Sequence[str], models: Sequence[str]) -> str:
    """A file that does not exist yet, named after the first layer and the model."""
    words = [*(layers[:1] or [translate("scene")]), *(model.partition("@")[0] for model in models[:1])]
    name = re.sub(r"[^\w.-]+", "_", "-".join(words)).strip("_")
    path, number = folder / f"{name}.tif", 1
    while path.exists() or parts_of(str(path)).exists():
        number += 1
        path = folder / f"{name}-{number}.tif"
    return str(path)


def told_of(text: str) -> dict[str, Any]:
    """What the user says of a layer, beyond what its file says: "sensor=sentinel-2-l2a; offset=-1000".

    Raises:
        ParameterError: a word is unknown, or its value cannot be read.
    """
    found = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, _, value = (piece.strip() for piece in part.partition("="))
        try:
            found[name] = TOLD[name](value)
        except (KeyError, ValueError) as error:
            raise ParameterError(
                translate("“{}” cannot be understood").format(part),
                "",
                translate("write it as {}").format(TOLD_EXAMPLE),
            ) from error
    return found
