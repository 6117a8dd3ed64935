"""Results as lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def lines(command: str, result: Any) -> Iterator[str]:
    """What a command prints on stdout when no JSON was asked for."""
    match command:
        case "segment" | "embed":
            yield from _segment(result)
        case "plan":
            yield from _plan(result)
        case "inspect":
            for number, found in enumerate(result.get("rasters", [result])):
                yield from [""] * bool(number) + found["summary"]
        case "models verify":
            yield f"{result['reference']}: {'in order' if result['ok'] else 'NOT in order'}"
            yield from (f"  {check['state']:<14} {check['sentence']}" for check in result["checks"])
        case "models list":
            yield from _models(result["models"])
        case _:
            yield from _tree(result)


def _segment(result: dict[str, Any]) -> Iterator[str]:
    for kind, names in result["outputs"].items():
        for name in names if isinstance(names, list) else [names]:
            yield f"{kind.replace('_', ' '):<14} {name}"
    compute = result["compute"]
    yield (
        f"{_counted(result['windows'], 'window')} in {result['seconds']} s on {compute['device']} "
        f"({compute['runtime']}, {compute['precision']})"
    )


def _plan(result: dict[str, Any]) -> Iterator[str]:
    width, height = result["pixel_size_m"]
    yield f"result    {result['width']} x {result['height']} px of {width:.4g} x {height:.4g} m in {result['crs']}"
    for item in result["inputs"]:
        yield f"input     {item['slot']}: {item['sensor'] or 'sensor not known'}, {item['date'] or 'date not known'}"
    yield (
        f"windows   {_counted(result['windows'], 'window')} of {result['window']} px, "
        f"written in {_counted(result['chunks'], 'chunk')}"
    )
    compute = result["compute"]
    yield f"compute   {compute['device']}, {compute['runtime']}, {compute['precision']}, batch {compute['batch']}"
    yield f"memory    about {result['memory_bytes'] / 1e9:.2f} GB"
    yield f"time      about {max(1, round(result['seconds']))} s"
    for warning in result["warnings"]:
        yield f"warning   {warning}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _models(models: list[dict[str, Any]]) -> Iterator[str]:
    if not models:
        yield "no model is installed"
    for model in models:
        title = model.get("problem") or model.get("title", "")
        yield f"{model.get('name', '?'):<28} {model.get('version', ''):<8} {model.get('kind', ''):<8} {title}"


def _tree(value: Any, indent: int = 0) -> Iterator[str]:
    """Any JSON value as an indented outline."""
    space = "  " * indent
    if isinstance(value, dict):
        for key, item in value.items():
            if item in (None, "", [], {}):
                continue
            if isinstance(item, dict | list):
                yield f"{space}{key}"
                yield from _tree(item, indent + 1)
            else:
                yield f"{space}{key}: {item}"
    elif isinstance(value, list):
        if all(not isinstance(item, dict | list) for item in value):
            yield space + ", ".join(map(str, value))
            return
        for item in value:
            if isinstance(item, dict):
                yield space + "- " + "; ".join(f"{k}: {v}" for k, v in item.items() if v not in (None, "", [], {}))
            else:
                yield from _tree(item, indent + 1)
    else:
        yield f"{space}{value}"
