"""Results as lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from backend.command_line.arguments import TASKS


def lines(command: str, result: Any) -> Iterator[str]:
    """What a command prints on stdout when no JSON was asked for."""
    match command:
        case command if command in TASKS:
            yield from _outputs(result)
        case "learn":
            yield from _learned(result)
            if result["outputs"]:
                yield from _outputs(result)
        case "export":
            yield from (f"{kind:<14} {name}" for kind, names in result["outputs"].items() for name in names)
        case "assess":
            yield from _assessed(result)
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
        case "models describe":
            yield from result["summary"]
        case "models install":
            for package in (*result["needs"], result):
                already = " already" if package["already_installed"] else ""
                yield f"{package['reference']} is{already} installed in {package['path']}"
        case "models remove":
            yield f"{result['reference']} is removed"


def _outputs(result: dict[str, Any]) -> Iterator[str]:
    outputs = dict(result["outputs"])
    areas = outputs.pop("class_areas", [])
    for kind, names in outputs.items():
        for name in names if isinstance(names, list) else [names]:
            yield f"{kind.replace('_', ' '):<14} {name}"
    for number, classes in enumerate(areas):
        if len(areas) > 1:
            yield f"areas of       {outputs['classes'][number]}"
        yield from _areas(classes)
    compute = result["compute"]
    yield (
        f"{_counted(result['windows'], 'window')} in {result['seconds']} s on {compute['device']} "
        f"({compute['runtime']}, {compute['precision']})"
    )


def _areas(classes: list[dict[str, Any]]) -> Iterator[str]:
    """One line per class: its ground, and its share of all ground that has a class."""
    total = sum(found["area_m2"] or 0.0 for found in classes)
    longest = max(len(found["name"]) for found in classes)
    for found in classes:
        area = found["area_m2"]
        share = f"{area / total:7.2%}" if area is not None and total else ""
        yield f"{'area':<14} {found['name']:<{longest}} {_ground(area):>14} {share}".rstrip()


def _ground(area_m2: float | None) -> str:
    """An area in the unit in which people say it, four digits of it."""
    if area_m2 is None:
        return "not known"
    value, unit = (area_m2 / 1e6, "km2") if area_m2 >= 1e6 else (area_m2 / 1e4, "ha")
    return f"{value:,.{max(0, 4 - len(str(int(value))))}f} {unit}"


def _learned(result: dict[str, Any]) -> Iterator[str]:
    """The new model, and what it is worth."""
    report = result["report"]
    yield f"{'model':<14} {result['model']} in {result['path']}"
    classes = ", ".join(f"{found['name']} ({found['labels']})" for found in report["classes"])
    yield f"{'labels':<14} {classes}"
    for title, key in (("by label", "by_label"), ("by block", "by_block")):
        found = report[key]
        if found:
            score = found["accuracy"]
            yield (
                f"{title:<14} accuracy {score['value']:.3f} ({score['ci_low']:.3f}-{score['ci_high']:.3f}), "
                f"mean F1 {found['macro_f1']:.3f}, cross-validated"
            )


def _assessed(result: dict[str, Any]) -> Iterator[str]:
    """Accuracies and areas with 95 % intervals, or what was drawn."""
    for kind, path in result["outputs"].items():
        yield f"{kind:<14} {path}"
    if "overall" not in result:
        yield from (f"{count:>7} points   {name}" for name, count in result["points"].items())
        return
    yield f"{'overall':<14} {_estimate(result['overall'])}, adjusted for the areas of the classes"
    yield f"{'samples':<14} {result['samples_right']:.3f} of {result['references']} are right"
    longest = max(len(one["name"]) for one in result["classes"])
    for one in result["classes"]:
        area = one["area_m2"]
        ground = "not known" if area["value"] is None else f"{_ground(area['value'])} +- {_ground(area['margin'])}"
        yield (
            f"{one['name']:<{longest}}  user's {_estimate(one['users'])}, producer's {_estimate(one['producers'])}, "
            f"area {ground}, mapped {_ground(one['mapped_m2'])}"
        )


def _estimate(found: dict[str, float | None]) -> str:
    if found["value"] is None:
        return "not known"
    margin = found["margin"]
    return f"{found['value']:.3f}" + ("" if margin is None else f" +- {margin:.3f}")


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
