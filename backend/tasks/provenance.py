"""What a result was made of: the run description and the STAC item beside it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from backend.geo.stac import COG, GEOPACKAGE, JSON, Asset, ModelLink, Origin, stac_item
from backend.protocol.errors import OutputError
from backend.scene.run import RunFolder, run_file, write_json
from backend.tasks.outputs import ResultFiles, item_file, kind_of
from backend.tasks.task import Setup

# What is said of a result beside the names of its files.
MEASURED_CLASSES = ("polygon_count", "class_areas")
MEASURED = (*MEASURED_CLASSES, "threshold")


def write_description(setup: Setup, folder: RunFolder, found: Mapping[str, Any]) -> dict[str, str]:
    """Write `OUT.run.json` and `OUT.stac.json`.

    Args:
        setup: the job.
        folder: the run.
        found: the results by kind.

    Returns:
        both paths, by "run" and "stac".

    Raises:
        OutputError: when they cannot be written.
    """
    made = datetime.now(timezone.utc).replace(microsecond=0)
    described, item = run_file(setup.output), item_file(setup.output)
    description = {
        **folder.description,
        "run": folder.run_id,
        "finished": made.isoformat(),
        "outputs": {kind: [Path(name).name for name in names] for kind, names in found.items() if kind not in MEASURED},
        **{kind: found[kind] for kind in MEASURED if kind in found},
    }
    legends = [result.classes for result in setup.results if result.classes]
    if legends:
        description["classes"] = [
            [{"value": c.value, "name": c.name, "color": c.color} for c in classes] for classes in legends
        ]
    try:
        write_json(described, description)
        write_json(item, _item(setup, folder, described, made))
    except OSError as error:
        raise OutputError(f'"{described}" cannot be written', error.strerror or str(error)) from error
    return {"run": str(described), "stac": str(item)}


def _item(setup: Setup, folder: RunFolder, described: Path, made: datetime) -> dict[str, Any]:
    assets = {key: asset for result in setup.results for key, asset in _assets(result).items()}
    assets["run"] = Asset(described.name, "Run description", JSON, ("metadata",))
    dates = [resolved.date for item in setup.inputs for resolved in item.resolved if resolved.date is not None]
    choice = setup.model.choice
    origin = Origin(
        dates=dates,
        software={"EarthPrism": folder.description["program"], **folder.description["libraries"]},
        lineage=f"{setup.job.kind} with {', '.join(p.reference for p in setup.packages)} "
        f"({choice.runtime}, {choice.precision}, {choice.device})",
        models=[ModelLink(f"urn:sha256:{package.digest}", package.reference) for package in setup.packages],
        made=made,
    )
    return stac_item(f"{setup.output.stem}-{folder.run_id}", setup.grid, assets, origin)


def _assets(result: ResultFiles) -> dict[str, Asset]:
    """The files of one result by key."""
    profiles = {**result.profiles, **result.derived}
    found = {
        layer.replace("/", "-"): Asset(path.name, kind_of(layer), COG, profile=profiles[layer])
        for layer, path in result.targets.items()
    }
    if result.polygons is not None:
        prefix = result.layer.rpartition("/")[0]
        key = f"{prefix}-polygons" if prefix else "polygons"
        found[key] = Asset(result.polygons.name, "class polygons", GEOPACKAGE, legend=result.legend)
    return found
