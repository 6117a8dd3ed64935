"""What a run gave, as its description file says: outputs, legend, dates, models. No QGIS in here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLASSES, CONFIDENCE, PROBABILITIES, POLYGONS, EMBEDDING, DIFFERENCE = (
    "classes", "confidence", "probabilities", "polygons", "embedding", "difference",
)  # fmt: skip
# The class of a comparison that is no change: what lies below shows through it.
UNCHANGED = "unchanged"
# What lies on top of what in a run's group.
ORDER = (POLYGONS, CONFIDENCE, CLASSES, PROBABILITIES, DIFFERENCE, EMBEDDING)


@dataclass(frozen=True)
class Output:
    """One layer of a run.

    Attributes:
        kind: "classes", "confidence" …
        model: name of the model where several ran at once, else "".
    """

    kind: str
    model: str = ""

    @classmethod
    def named(cls, name: str) -> Output:
        """From the backend's name of it: "classes" or "MODEL/classes"."""
        model, _, kind = name.rpartition("/")
        return cls(kind, model)

    @property
    def rank(self) -> int:
        """Its place in the group, top first."""
        return ORDER.index(self.kind) if self.kind in ORDER else len(ORDER)


@dataclass(frozen=True)
class ClassStyle:
    """One class of a legend.

    Attributes:
        value: number in the raster.
        name: as the model names it.
        color: as "#rrggbb".
    """

    value: int
    name: str
    color: str


@dataclass(frozen=True)
class RunRecord:
    """The description of a finished run, `OUT.run.json`.

    Attributes:
        document: the whole of it.
        files: file of every output.
        legends: classes by model, "" where only one ran.
    """

    document: Mapping[str, Any]
    files: Mapping[Output, Path]
    legends: Mapping[str, tuple[ClassStyle, ...]]

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> RunRecord:
        """From the result of a job, whose description is read."""
        outputs = result["outputs"]
        document = json.loads(Path(outputs["run"]).read_text("utf-8"))
        # An encoder stands before its heads; the results are those of the heads.
        producers = max(1, len(document.get("classes", ())))
        models = [model["name"].partition("@")[0] for model in document["models"]][-producers:]
        several = producers > 1
        files = {
            Output(kind, models[number] if several else ""): Path(path)
            for kind in ORDER
            for number, path in enumerate(outputs.get(kind, ()))
        }
        legends = {
            models[number] if several else "": tuple(ClassStyle(c["value"], c["name"], c["color"]) for c in classes)
            for number, classes in enumerate(document.get("classes", ()))
        }
        return cls(document, files, legends)

    @property
    def dates(self) -> tuple[str, ...]:
        """Dates of the inputs, ISO 8601, rising."""
        rasters = (raster for item in self.document["inputs"] for raster in item["rasters"])
        return tuple(sorted({raster["date"][:10] for raster in rasters if raster.get("date")}))

    @property
    def models(self) -> tuple[str, ...]:
        """The models with their digests, for people."""
        return tuple(f"{model['name']} (sha256 {model['sha256']})" for model in self.document["models"])
