"""A strict reader of `schema.json`: the few JSON Schema keywords it uses, with errors that name the place."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from backend.protocol.errors import PackageError

SCHEMA_FILE = Path(__file__).with_name("schema.json")


@lru_cache(maxsize=1)
def schema() -> dict[str, Any]:
    """The JSON Schema of model.json."""
    document: dict[str, Any] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    return document


def check(document: Any) -> None:
    """Raise PackageError with the first place where a parsed model.json does not follow the schema."""
    for place, why in _problems(document, schema(), ""):
        raise PackageError(f"model.json is not valid at {place or 'its top'}", why)


def _problems(value: Any, rule: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    """Every place and reason where a value breaks a rule."""
    if "$ref" in rule:
        yield from _problems(value, schema()["$defs"][rule["$ref"].rpartition("/")[2]], place)
        return
    if "oneOf" in rule:
        yield from _one_of(value, rule["oneOf"], place)
        return
    if "const" in rule and not _same(value, rule["const"]):
        yield place, f"it must be {json.dumps(rule['const'])}, not {_shown(value)}"
    elif "enum" in rule and not any(_same(value, choice) for choice in rule["enum"]):
        yield place, f"it must be one of {', '.join(map(str, rule['enum']))}, not {_shown(value)}"
    elif "type" in rule:
        if not _TYPES[rule["type"]](value):
            yield place, f"it must be of type {rule['type']}, not {_shown(value)}"
        else:
            yield from _CONTENT.get(rule["type"], _nothing)(value, rule, place)


def _one_of(value: Any, branches: list[dict[str, Any]], place: str) -> Iterator[tuple[str, str]]:
    """Problems of the branch that the value seems to mean, when it does not fit exactly one."""
    found = [list(_problems(value, branch, place)) for branch in branches]
    if sum(not problems for problems in found) == 1:
        return
    if isinstance(value, dict):
        meant = [problems for branch, problems in zip(branches, found, strict=True) if _means(value, branch)]
        if len(meant) == 1:
            yield from meant[0]
            return
        choices = [
            str(branch["properties"]["op"]["const"]) for branch in branches if "op" in branch.get("properties", {})
        ]
        if choices:
            yield f"{place}.op", f"it must be one of {', '.join(choices)}, not {_shown(value.get('op'))}"
            return
    yield place, f"it has none of the allowed forms: {_shown(value)}"


def _means(value: dict[str, Any], branch: dict[str, Any]) -> bool:
    """True when every constant of the branch is in the value."""
    constants = {key: rule["const"] for key, rule in branch.get("properties", {}).items() if "const" in rule}
    return bool(constants) and all(_same(value.get(key), constant) for key, constant in constants.items())


def _object(value: dict[str, Any], rule: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    known, others = rule.get("properties", {}), rule.get("additionalProperties", True)
    for key in rule.get("required", ()):
        if key not in value:
            yield place, f'the key "{key}" is missing'
    for key, item in value.items():
        inside = f"{place}.{key}" if place else key
        if key in known:
            yield from _problems(item, known[key], inside)
        elif others is False:
            yield place, f'the key "{_shortened(key)}" is not known'
        elif isinstance(others, dict):
            yield from _problems(item, others, inside)


def _array(value: list[Any], rule: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    if not rule.get("minItems", 0) <= len(value) <= rule.get("maxItems", math.inf):
        yield place, f"it has {len(value)} items"
        return
    for index, item in enumerate(value):
        yield from _problems(item, rule.get("items", {}), f"{place}[{index}]")


def _string(value: str, rule: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    if not rule.get("minLength", 0) <= len(value) <= rule.get("maxLength", math.inf):
        yield place, f"it has {len(value)} characters"
    elif "pattern" in rule and not re.search(_exact_end(rule["pattern"]), value):
        yield place, f"{_shown(value)} does not have the form {rule['pattern']}"


def _exact_end(pattern: str) -> str:
    """The pattern with Python's meaning of "$" (also before a last line feed) replaced by JSON Schema's."""
    return pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern


def _number(value: float, rule: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    if not rule.get("minimum", -math.inf) <= value <= rule.get("maximum", math.inf):
        yield place, f"{_shown(value)} is outside {rule.get('minimum', 'any')} to {rule.get('maximum', 'any')}"
    elif value <= rule.get("exclusiveMinimum", -math.inf):
        yield place, f"{_shown(value)} must be greater than {rule['exclusiveMinimum']}"


def _nothing(value: Any, rule: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    return iter(())


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return _is_number(value) and float(value).is_integer()


_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "number": _is_number,
    "integer": _is_integer,
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}
_CONTENT: dict[str, Callable[[Any, dict[str, Any], str], Iterator[tuple[str, str]]]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "number": _number,
    "integer": _number,
}


def _same(value: Any, other: Any) -> bool:
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _shown(value: Any) -> str:
    return _shortened(json.dumps(value))
