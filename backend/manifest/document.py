"""model.json: between the document and the `Package` it describes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

from backend.manifest import schema
from backend.manifest.package import (
    DETECTION_VALUES,
    SCHEMA,
    BandNeed,
    ClassInfo,
    Feature,
    InputSlot,
    Output,
    Package,
    Step,
    Tiling,
    Variant,
)
from backend.manifest.steps import PARAMETERS
from backend.protocol.errors import PackageError

EXTENSIONS = (
    "https://stac-extensions.github.io/mlm/v1.5.0/schema.json",
    "https://stac-extensions.github.io/classification/v1.1.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
)
# MLM's list of tasks is closed and knows neither change nor embedding: the nearest ones.
MLM_TASKS = {
    "segment": "semantic-segmentation",
    "change": "semantic-segmentation",
    "classify": "scene-classification",
    "detect": "object-detection",
    "embed": "similarity-search",
}
MLM_RESIZE = {"bilinear": "interpolation-linear", "cubic": "interpolation-cubic"}
_MEDIA = {
    ".onnx": "application/octet-stream",
    ".data": "application/octet-stream",
    ".safetensors": "application/octet-stream",
    ".png": "image/png",
    ".md": "text/markdown",
    ".qml": "application/xml",
}
_OPTIONAL_TEXT = {
    "description": "description",
    "attribution": "earthprism:attribution",
    "training": "earthprism:training",
    "style": "earthprism:style",
}


def encode(package: Package, sizes: Mapping[str, int]) -> dict[str, Any]:
    """The model.json of a package whose other files have these sizes in bytes (model.json and SHA256SUMS left out)."""
    document = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(EXTENSIONS),
        "id": f"{package.name}-{package.version}",
        "geometry": None,
        "properties": _properties(package),
        "links": [],
        "assets": {name: _asset(package, name, size) for name, size in sorted(sizes.items())},
    }
    schema.check(document)
    return document


def decode(document: Any, root: Path, sizes: Mapping[str, int], digest: str = "") -> Package:
    """The package that a parsed model.json of the current schema describes.

    Raises:
        PackageError: for any key, type or value outside the schema, and where the STAC part contradicts our own.
    """
    schema.check(document)
    properties = document["properties"]
    ours = {key.partition(":")[2]: value for key, value in properties.items() if key.startswith("earthprism:")}
    package = Package(
        root=root,
        name=ours["name"],
        version=ours["version"],
        title=properties["title"],
        kind=ours["kind"],
        task=ours["task"],
        tiling=Tiling(**{key: int(value) for key, value in ours["tiling"].items()}),
        variants=tuple(_variant(value) for value in ours["variants"]),
        inputs=tuple(_slot(value) for value in ours["inputs"]),
        outputs=tuple(_output(value) for value in ours["outputs"]),
        features=tuple(
            Feature(value["name"], int(value["channels"]), int(value["size"]), value.get("slot", ""))
            for value in ours["features"]
        ),
        joins=tuple(ours.get("joins", ())),
        encoder=ours["encoder"].removeprefix("sha256:") if "encoder" in ours else None,
        golden=ours["golden"],
        style=ours.get("style"),
        licence=properties["license"],
        created=properties["datetime"],
        architecture=properties["mlm:architecture"],
        attribution=ours.get("attribution", ""),
        description=properties.get("description", ""),
        training=ours.get("training", ""),
        digest=digest,
    )
    _compare(document, encode(package, sizes), "")
    return package


def _compare(given: Any, expected: Any, place: str) -> None:
    """Refuse a document that says one thing to other programs and another to this one."""
    if isinstance(given, dict) and isinstance(expected, dict):
        for key in sorted({*given, *expected}):
            if key not in given or key not in expected:
                raise PackageError(
                    f"model.json contradicts itself at {place or 'its top'}",
                    f'"{key}" is {"missing" if key not in given else "there, but nothing else needs it"}',
                )
            _compare(given[key], expected[key], f"{place}.{key}" if place else key)
    elif isinstance(given, list) and isinstance(expected, list) and len(given) == len(expected):
        for index, (one, other) in enumerate(zip(given, expected, strict=True)):
            _compare(one, other, f"{place}[{index}]")
    elif given != expected:
        raise PackageError(
            f"model.json contradicts itself at {place}", f"{given!r} there, but the rest means {expected!r}"
        )


def _properties(package: Package) -> dict[str, Any]:
    values: dict[str, Any] = {
        "datetime": package.created,
        "title": package.title,
        "license": package.licence,
        "mlm:name": package.name,
        "mlm:architecture": package.architecture,
        "mlm:tasks": [MLM_TASKS[package.task]],
        "mlm:framework": "ONNX" if any(v.runtime == "onnxruntime" for v in package.variants) else "PyTorch",
        "mlm:input": [_mlm_input(slot) for slot in package.inputs],
        "mlm:output": _mlm_outputs(package),
        "earthprism:schema": SCHEMA,
        "earthprism:name": package.name,
        "earthprism:version": package.version,
        "earthprism:kind": package.kind,
        "earthprism:task": package.task,
        "earthprism:tiling": _plain(package.tiling),
        "earthprism:variants": [_plain(variant) for variant in package.variants],
        "earthprism:inputs": [_plain(slot) for slot in package.inputs],
        "earthprism:outputs": [_plain(output, every=True) for output in package.outputs],
        "earthprism:features": [_plain(feature) for feature in package.features],
        "earthprism:golden": package.golden,
    }
    if package.joins:
        values["earthprism:joins"] = list(package.joins)
    if package.encoder is not None:
        values["earthprism:encoder"] = f"sha256:{package.encoder}"
    if package.inputs:
        names = dict.fromkeys(band.name for slot in package.inputs for band in slot.bands)
        values["bands"] = [{"name": name} for name in names]
    values.update({key: getattr(package, name) for name, key in _OPTIONAL_TEXT.items() if getattr(package, name)})
    return values


def _plain(value: Any, every: bool = False) -> Any:
    """JSON form of a value object: fields by name, those at their default left out unless they are always there."""
    if isinstance(value, Step):
        parameters = {name: _number_or_list(getattr(value, name)) for name in PARAMETERS.get(value.op, ())}
        return {"op": value.op, **parameters}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if is_dataclass(value):
        always = every or isinstance(value, (Tiling, Output))
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value) if always or _said(value, item)}
    return None if isinstance(value, float) and math.isinf(value) else value


def _said(value: Any, item: Field[Any]) -> bool:
    if isinstance(value, InputSlot) and item.name in ("steps", "fill"):
        return True
    default = item.default_factory() if item.default_factory is not MISSING else item.default
    return default is MISSING or getattr(value, item.name) != default


def _number_or_list(values: tuple[float, ...]) -> float | list[float]:
    return values[0] if len(values) == 1 else list(values)


def _slot(value: dict[str, Any]) -> InputSlot:
    known = {
        **value,
        "sensors": tuple(value["sensors"]),
        "bands": tuple(_band(band) for band in value["bands"]),
        "size": int(value["size"]),
        "steps": tuple(_step(step) for step in value["steps"]),
        "fill": float(value["fill"]),
    }
    if "dates" in value:
        known["dates"] = tuple(int(date) for date in value["dates"])
    if "gsd_m" in value:
        low, high = value["gsd_m"]
        known["gsd_m"] = (float(low or 0.0), math.inf if high is None else float(high))
    return InputSlot(**known)


def _band(value: dict[str, Any]) -> BandNeed:
    center, width = (float(value[key]) if key in value else None for key in ("center_nm", "width_nm"))
    return BandNeed(value["name"], center, width, value.get("polarisation"))


def _step(value: dict[str, Any]) -> Step:
    parameters = {name: item for name, item in value.items() if name != "op"}
    return Step(
        value["op"],
        **{name: tuple(map(float, item if isinstance(item, list) else [item])) for name, item in parameters.items()},
    )


def _output(value: dict[str, Any]) -> Output:
    classes = tuple(ClassInfo(int(item["value"]), item["name"], item["color"]) for item in value["classes"])
    return Output(
        value["name"], value["activation"], classes, tuple(map(float, value["thresholds"])), int(value["nodata"])
    )


def _variant(value: dict[str, Any]) -> Variant:
    parameters = {
        key: tuple(item) if isinstance(item, list) else item for key, item in value.get("parameters", {}).items()
    }
    return Variant(
        value["runtime"],
        value["precision"],
        value["file"],
        float(value["tolerance"]),
        value.get("architecture"),
        parameters,
        value.get("stages", {}),
    )


def _mlm_input(slot: InputSlot) -> dict[str, Any]:
    shape, order = [-1, len(slot.bands), slot.size, slot.size], ["batch", "bands", "height", "width"]
    if slot.temporal:
        shape.insert(1, -1)
        order.insert(1, "time")
    return {
        "name": slot.name,
        "bands": [band.name for band in slot.bands],
        "resize_type": MLM_RESIZE[slot.resize],
        "input": {"shape": shape, "dim_order": order, "data_type": "float32"},
    }


def _mlm_outputs(package: Package) -> list[dict[str, Any]]:
    window, tasks = package.tiling.window, [MLM_TASKS[package.task]]
    results = []
    for output in package.outputs:
        shape, order = [-1, max(1, len(output.classes))], ["batch", "class"]
        if package.task in ("segment", "change"):
            shape, order = [*shape, window, window], [*order, "height", "width"]
        elif package.task == "detect":
            shape, order = [-1, -1, DETECTION_VALUES], ["batch", "detection", "value"]
        results.append(
            {
                "name": output.name,
                "tasks": tasks,
                "classification:classes": [_mlm_class(c) for c in output.classes],
                "result": {"shape": shape, "dim_order": order, "data_type": "float32"},
            }
        )
    for feature in package.features if package.kind != "head" else ():
        shape, order, side = [-1, feature.channels], ["batch", "embedding"], feature.size
        if side:
            shape, order = [*shape, side, side], [*order, "height", "width"]
        results.append(
            {
                "name": feature.name,
                "tasks": tasks,
                "result": {"shape": shape, "dim_order": order, "data_type": "float32"},
            }
        )
    return results


def _mlm_class(info: ClassInfo) -> dict[str, Any]:
    slug = re.sub(r"[^0-9A-Za-z_-]+", "-", info.name).strip("-") or f"class-{info.value}"
    return {"value": info.value, "name": slug, "description": info.name, "color_hint": info.color[1:].upper()}


def _asset(package: Package, name: str, size: int) -> dict[str, Any]:
    kind = _MEDIA.get(Path(name).suffix, "text/plain")
    used = [variant for variant in package.variants if name in (variant.file, *variant.stages.values())]
    entry: dict[str, Any] = {
        "href": f"./{name}",
        "type": kind,
        "roles": ["mlm:model"] if used else ["metadata"],
        "file:size": size,
    }
    if used:
        entry["mlm:artifact_type"] = "onnx" if used[0].runtime == "onnxruntime" else "safetensors.torch.save_file"
    elif name.endswith(".data"):
        entry["roles"] = ["mlm:weights"]
    return entry
