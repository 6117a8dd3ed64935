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


# Function that turns a document of the numbered schema into one of the next.
UPGRADES: dict[int, Callable[[Document], Document]] = {1: _outputs_as_list}


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
