"""Handing a finished run on: its files with their styles and a table of areas, in a folder of their own."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backend.geo.qml import class_style, confidence_style, embed_style, polygon_style
from backend.geo.raster_xml import LegendClass
from backend.geo.vector import LAYER
from backend.protocol.errors import OutputError, SourceError
from backend.protocol.jobs import ExportJob
from backend.scene.run import run_file
from backend.tasks.context import Context

CLASS_FIELD, AREAS = "class", "areas.csv"
DESCRIPTIONS = (".run.json", ".stac.json")


def run(job: ExportJob, context: Context) -> dict[str, Any]:
    """Copy a run's results, styled, with its description and STAC item; nothing that is there already is touched.

    Returns:
        "outputs": the files by what they are.

    Raises:
        SourceError: there is no finished run, or files of it are gone.
        OutputError: the folder is not empty, or cannot be written.
    """
    described = _described(Path(job.run))
    document = _read(described)
    for names in document["outputs"].values():
        for name in names:
            _check_there(described.parent / name)
    target = Path(job.folder).absolute()
    if target.exists() and any(target.iterdir()):
        raise OutputError(f'"{target}" is not empty', "", "name a new folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as scratch:
            work = Path(scratch) / "export"
            work.mkdir()
            found = _filled(work, described, document, context)
            if target.exists():
                target.rmdir()
            os.replace(work, target)
    except OSError as error:
        raise OutputError(f'"{target}" cannot be written', error.strerror or str(error)) from error
    return {"outputs": {kind: [str(target / name) for name in names] for kind, names in found.items()}}


def _described(path: Path) -> Path:
    """The description of a run, by its own name or that of its main result.

    Raises:
        SourceError: there is none.
    """
    described = path if path.name.endswith(DESCRIPTIONS[0]) else run_file(path)
    if not described.is_file():
        raise SourceError(
            f'there is no finished run at "{path}"', f'"{described.name}" is missing', "give the main result of a run"
        )
    return described


def _read(described: Path) -> dict[str, Any]:
    try:
        document = json.loads(described.read_text("utf-8"))
        document["outputs"].items()
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise SourceError(f'"{described}" does not describe a run', str(error)) from error
    found: dict[str, Any] = document
    return found


def _filled(work: Path, described: Path, document: dict[str, Any], context: Context) -> dict[str, list[str]]:
    """Fill a folder; the names of its files by what they are."""
    found: dict[str, list[str]] = {}
    outputs: dict[str, list[str]] = document["outputs"]
    total = sum(map(len, outputs.values()))
    done = 0
    for kind, names in outputs.items():
        for number, name in enumerate(names):
            context.check()
            context.progress("exporting", done, total)
            done += 1
            _copy(described.parent / name, work)
            found.setdefault(kind, []).append(name)
            style = _style(kind, _legend(document, number))
            if style is None:
                continue
            if kind == "polygons":
                embed_style(work / name, LAYER, style)
            else:
                styled = Path(name).with_suffix(".qml").name
                (work / styled).write_bytes(style)
                found.setdefault("styles", []).append(styled)
    context.progress("exporting", total, total)
    stem = described.name.removesuffix(DESCRIPTIONS[0])
    for ending in DESCRIPTIONS:
        _copy(described.with_name(stem + ending), work)
        found.setdefault("descriptions", []).append(stem + ending)
    if document.get("class_areas"):
        (work / AREAS).write_text(_table(document["class_areas"], outputs.get("classes", [])), "utf-8")
        found["areas"] = [AREAS]
    return found


def _copy(source: Path, work: Path) -> None:
    """Copy a file, with what lies beside it."""
    _check_there(source)
    shutil.copyfile(source, work / source.name)
    beside = source.with_name(source.name + ".aux.xml")
    if beside.is_file():
        shutil.copyfile(beside, work / beside.name)


def _check_there(source: Path) -> None:
    """Raise SourceError for a file that is gone."""
    if not source.is_file():
        raise SourceError(f'"{source}" is gone', "it belongs to the run", "put it back, or run again")


def _legend(document: dict[str, Any], number: int) -> tuple[LegendClass, ...]:
    legends = document.get("classes", [])
    if number >= len(legends):
        return ()
    return tuple(
        LegendClass(one["value"], one["name"], tuple(bytes.fromhex(one["color"][1:])))  # type: ignore[arg-type]
        for one in legends[number]
    )


def _style(kind: str, legend: Sequence[LegendClass]) -> bytes | None:
    if kind == "confidence":
        return confidence_style()
    if kind == "classes" and legend:
        return class_style(legend)
    return polygon_style(legend, CLASS_FIELD) if kind == "polygons" and legend else None


def _table(areas: Sequence[Sequence[dict[str, Any]]], names: Sequence[str]) -> str:
    """The ground of every class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["map", "value", "class", "pixels", "area_m2"])
    for number, classes in enumerate(areas):
        name = names[number] if number < len(names) else ""
        for one in classes:
            writer.writerow([name, one["value"], one["name"], one["pixels"], one["area_m2"]])
    return text.getvalue()
