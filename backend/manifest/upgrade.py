"""Old model.json documents, brought to the current schema one number at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from backend.manifest.package import SCHEMA
from backend.protocol.errors import PackageError

Document = dict[str, Any]
KEY = "earthprism:schema"


def _outputs_as_list(document: Document) -> Document:
    """Schema 1 knew one output; schema 2 has a list, for models such as semantic change that give several maps."""
    properties = dict(document["properties"])
    output = properties.pop("earthprism:output", None)
    properties["earthprism:outputs"] = [] if output is None else [output]
    return {**document, "properties": properties}


def _features_by_size(document: Document) -> Document:
    """Schema 2 gave the grid pixels per position of a feature, schema 3 its positions per side.

    What does not have the form of schema 2 is left as it is, for the schema to refuse.
    """
    properties = dict(document["properties"])
    tiling, features = properties.get("earthprism:tiling"), properties.get("earthprism:features")
    window = tiling.get("window") if isinstance(tiling, dict) else None
    if isinstance(window, int) and isinstance(features, list):
        properties["earthprism:features"] = [_with_size(feature, window) for feature in features]
    return {**document, "properties": properties}


def _with_size(feature: Any, window: int) -> Any:
    stride = feature.get("stride") if isinstance(feature, dict) else None
    if not isinstance(stride, int | float) or stride < 0:
        return feature
    kept = {key: value for key, value in feature.items() if key != "stride"}
    return {**kept, "size": round(window / stride) if stride else 0}


# Function that turns a document of the numbered schema into one of the next.
UPGRADES: dict[int, Callable[[Document], Document]] = {1: _outputs_as_list, 2: _features_by_size}


def upgrade(document: Any, steps: Mapping[int, Callable[[Document], Document]] = UPGRADES, newest: int = SCHEMA) -> Any:
    """A parsed model.json in the newest schema; what is no package document is returned for the schema to refuse.

    Raises:
        PackageError: when the document is newer than this program, or too old for it.
    """
    while isinstance(document, dict) and isinstance(document.get("properties"), dict):
        number = document["properties"].get(KEY)
        if type(number) is not int or number == newest:
            break
        if number > newest:
            raise PackageError(
                f"the package has schema {number}",
                f"this version of EarthPrism reads up to {newest}",
                "update EarthPrism",
            )
        if number not in steps:
            raise PackageError(
                f"the package has schema {number}",
                "no version of EarthPrism wrote it, or it is too old",
                "ask its author for a newer version",
            )
        document = steps[number](document)
        document["properties"][KEY] = number + 1
    return document
