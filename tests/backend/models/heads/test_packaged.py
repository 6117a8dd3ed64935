"""Heads as networks that a package runs: by feature names, exported, under autocast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from backend.models import registry
from backend.models.load import initialise
from backend.protocol.errors import PackageError

FOUR = {"features": ("f1", "f2", "f3", "f4"), "channels": (4, 6, 8, 10)}
HEADS: dict[str, dict[str, Any]] = {
    "scene-classifier": {"features": ("x",), "channels": 6, "classes": 4},
    "linear-probe": {"features": ("x",), "channels": 6, "classes": 4},
    "linear-map": {"features": ("x",), "channels": (6,), "classes": 4, "size": 10},
    "upernet": {**FOUR, "classes": 3, "width": 8, "size": 12},
    "bit": {**FOUR, "width": 16, "heads": 2, "decoder_layers": 1, "size": 12},
    "upernet-semantic-change": {**FOUR, "classes": 3, "width": 8, "size": 12},
}


def head(name: str) -> Any:
    return initialise(registry.build("head", {"head": name, **HEADS[name]}, "meta"), seed=0).eval()


def features(name: str, batch: int) -> dict[str, Tensor]:
    network, generator = head(name), torch.Generator().manual_seed(0)
    channels = HEADS[name]["channels"]
    widths = channels if isinstance(channels, tuple) else (channels,)
    vector = name in ("scene-classifier", "linear-probe")
    sides = [()] if vector else [(6, 6)] * len(widths)
    moments = len(network.input_names) // len(widths)
    shapes = [(batch, width, *side) for width, side in zip(widths, sides, strict=True)] * moments
    values = [torch.randn(shape, generator=generator) for shape in shapes]
    return dict(zip(network.input_names, values, strict=True))


def computed(network: nn.Module, feeds: dict[str, Tensor]) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        found = network(*feeds.values())
    found = (found,) if isinstance(found, Tensor) else found
    return {name: part.numpy() for name, part in zip(network.output_names, found, strict=True)}  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["scene-classifier", "linear-probe", "linear-map", "bit"])
def test_heads_export_with_any_batch(name: str, tmp_path: Path) -> None:
    from backend.train.export import export_onnx

    network = head(name)
    graph = export_onnx(network, {key: value.numpy() for key, value in features(name, 2).items()}, tmp_path / "h.onnx")
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        feeds = features(name, batch)
        found = session.run(None, {key: value.numpy() for key, value in feeds.items()})
        for one, other in zip(found, computed(network, feeds).values(), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_names_and_shapes(name: str) -> None:
    network, size = head(name), HEADS[name].get("size", 0)
    found = computed(network, features(name, 2))
    for key, values in found.items():
        assert values.dtype == np.float32 and values.shape[0] == 2
        assert values.shape[2:] == ((size, size) if size else ()), key
    change = name in ("bit", "upernet-semantic-change")
    named = HEADS[name]["features"]
    expected = tuple(f"{moment}_{part}" for moment in ("before", "after") for part in named) if change else named
    assert network.input_names == expected


def test_semantic_change_of_equal_dates_is_none() -> None:
    feeds = features("upernet-semantic-change", 1)
    same = {**feeds, **{f"after_{name}": feeds[f"before_{name}"] for name in FOUR["features"]}}
    found = computed(head("upernet-semantic-change"), same)
    np.testing.assert_array_equal(found["before"], found["after"])
    assert not found["changed"].any()


def test_logits_are_single_precision_under_autocast() -> None:
    for name in HEADS:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            found = head(name)(*features(name, 2).values())
            assert all(part.dtype == torch.float32 for part in ((found,) if isinstance(found, Tensor) else found))


@pytest.mark.parametrize("name", ["faster-rcnn", "oriented-rcnn"])
def test_detections_of_every_image_have_one_shape(name: str) -> None:
    parameters = {"head": name, **FOUR, "classes": 2, "width": 16, "hidden": 16, "size": 64}
    network = initialise(registry.build("detector", parameters, "meta"), seed=0).eval()
    maps = [torch.randn(2, width, 16 >> level, 16 >> level) for level, width in enumerate(FOUR["channels"])]
    with torch.inference_mode():
        found = network(*maps)
    assert found.shape == (2, 100, 7) and torch.isfinite(found).all()
    scores = found[:, :, 5]
    assert (scores[:, :-1] >= scores[:, 1:]).all() and ((scores == -1) | (scores >= 0.05)).all()
    if name == "faster-rcnn":
        assert (found[:, :, 4] == 0).all()


@pytest.mark.parametrize(
    ("architecture", "parameters"),
    [
        ("head", {"head": "bagging", "features": ("x",), "channels": 6, "classes": 4}),
        ("head", {"head": "scene-classifier", **HEADS["scene-classifier"], "size": 10}),
        ("head", {"head": "linear-map", "features": ("x",), "channels": (6,), "classes": 4}),
        ("head", {"head": "nearest-neighbours", "features": ("x",), "channels": 6, "classes": 4}),
        ("detector", {"head": "upernet", **HEADS["upernet"]}),
    ],
    ids=["unknown", "size of a scene", "no size", "not to be packed", "no detector"],
)
def test_parameters_that_make_no_head_are_refused(architecture: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(PackageError, match="do not fit"):
        registry.build(architecture, parameters)
