"""A probe as a model package: a linear head on one map of an encoder, which runs wherever the encoder does."""

from __future__ import annotations

import colorsys
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from backend.manifest import files, golden, locate
from backend.manifest.build import build
from backend.manifest.linear_graph import linear_graph
from backend.manifest.package import ClassInfo, Feature, Package, Variant
from backend.runtime.onnx_session import OnnxSession
from backend.runtime.packing.head import WEIGHTS, describe_head

GRAPH = "head.onnx"
TOLERANCE = 1e-3
PATCH = 5  # positions along each side of the golden input
# What people expect of some names; the first word of a name that is found here counts.
USUAL = {
    "water": "#1f6fb4", "lake": "#1f6fb4", "river": "#4292c6", "sea": "#08519c", "forest": "#1b7837",
    "tree": "#1b7837", "trees": "#1b7837", "shrub": "#7fbf7b", "grass": "#a6d96a", "grassland": "#a6d96a",
    "meadow": "#a6d96a", "crop": "#fee08b", "crops": "#fee08b", "wheat": "#fee08b", "maize": "#fdae61",
    "soil": "#c9a878", "bare": "#c9a878", "sand": "#e5d3a1", "rock": "#969696", "snow": "#c6dbef", "ice": "#c6dbef",
    "wetland": "#66c2a4", "town": "#b2182b", "village": "#b2182b", "urban": "#b2182b", "building": "#b2182b",
    "buildings": "#b2182b", "road": "#525252", "cloud": "#d9d9d9",
}  # fmt: skip


def palette(count: int) -> list[str]:
    """Colours that can be told apart, "#rrggbb"."""
    hues = [(0.8 + number * 0.618034) % 1.0 for number in range(count)]
    rgb = [colorsys.hls_to_rgb(hue, 0.45 + 0.15 * (number % 2), 0.6) for number, hue in enumerate(hues)]
    return ["#" + "".join(f"{round(255 * part):02x}" for part in color) for color in rgb]


def classes_of(names: Sequence[str]) -> tuple[ClassInfo, ...]:
    """The legend: values from 0 in the order of the names, in colours that differ."""
    others, taken = iter(palette(2 * len(names) + len(USUAL))), set[str]()
    found = []
    for value, name in enumerate(names):
        words = re.findall(r"[a-z]+", name.lower())
        color = next((USUAL[word] for word in words if word in USUAL and USUAL[word] not in taken), "")
        while not color or color in taken:
            color = next(others)
        taken.add(color)
        found.append(ClassInfo(value, name, color))
    return tuple(found)


def newest_version(name: str) -> str:
    """The newest version of the packages of this name; "" for none."""
    versions = [version for known, version, _ in locate.candidates() if known == name]
    return max(versions, key=locate.version_key, default="")


def version_after(version: str) -> str:
    """1.0.0, then 1.0.1 …"""
    if not version:
        return "1.0.0"
    major, minor, patch = locate.version_key(version)[:3]
    return f"{major}.{minor}.{patch + 1}"


def write_head(
    encoder: Package,
    feature: Feature,
    window: int,
    weights: np.ndarray,
    bias: np.ndarray,
    names: Sequence[str],
    name: str,
    examples: np.ndarray,
    report: Mapping[str, Any],
    version: str,
    folder: Path,
) -> Package:
    """Write the package.

    Args:
        encoder: whose map it takes.
        feature: that map.
        window: pixels of the result along a window's side.
        weights, bias: D x classes and classes.
        names: of the classes.
        name: of the package.
        examples: n x D, features that the golden input is made of.
        report: what is known of the labels and the accuracy, as JSON values.
        version: of the package.
        folder: that it is written into.

    Raises:
        PackageError, OutputError: see `build`.
    """
    package = describe_head(
        encoder,
        "linear-map",
        [feature.name],
        classes_of(names),
        name,
        version,
        f"{', '.join(names)}: learned from labels"[:120],
        window=window,
        arguments={"channels": [feature.channels], "classes": len(names)},
        licence=encoder.licence,
        attribution=encoder.attribution,
        training=str(report["trained_on"]),
        description=f"A linear probe on {feature.name} of {encoder.name}, fitted to {report['labels']} labels.",
    )
    package = replace(package, variants=(Variant("onnxruntime", "fp32", GRAPH, TOLERANCE), *package.variants))
    graph = linear_graph(feature.name, feature.size, weights.T, bias, window)
    tensors = {
        "head.0.weight": np.ascontiguousarray(weights.T[:, :, None, None], np.float32),
        "head.0.bias": np.ascontiguousarray(bias, np.float32),
    }
    side = min(PATCH, feature.size)
    rows = examples[np.arange(side * side) % len(examples)].astype(np.float32)
    patches = {feature.name: rows.T.reshape(1, feature.channels, side, side)}
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{GRAPH}"
    draft.write_bytes(graph)
    try:
        session = OnnxSession(draft, "fp32")
        outputs = session.run(golden.expand_all(package, patches))
        session.close()
    finally:
        draft.unlink()
    parts: dict[str, Path | bytes] = {
        GRAPH: graph,
        WEIGHTS: save(tensors),
        files.LICENCE: f"{encoder.licence}\n{encoder.attribution}\n".encode(),
        "README.md": _card(package, report).encode(),
    }
    return build(package, parts, patches, outputs, folder)


def _card(package: Package, report: Mapping[str, Any]) -> str:
    """The model card, with everything that is known at its end."""
    lines = [f"# {package.title}", "", package.description, "", f"Trained on: {report['trained_on']}.", ""]
    for title, key in (("by label", "by_label"), ("by block of ground", "by_block")):
        found = report[key]
        if found:
            score = found["accuracy"]
            lines.append(
                f"Accuracy by cross-validation {title}: {score['value']:.3f} "
                f"({score['ci_low']:.3f}-{score['ci_high']:.3f}), mean F1 {found['macro_f1']}."
            )
    lines += ["", *(f"- {text}" for text in report["warnings"])]
    lines += ["", "```json", json.dumps(report, indent=1, ensure_ascii=False), "```"]
    return "\n".join(lines) + "\n"
