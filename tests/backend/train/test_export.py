"""The exported graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from backend.models.load import initialise
from backend.models.registry import build
from backend.train.export import export_onnx


def test_a_graph_does_not_tell_where_it_was_made(tmp_path: Path) -> None:
    network = initialise(
        build("baseline", {"input_name": "image", "mean": [0.1], "std": [0.1], "width": 4}, device="meta"), seed=0
    )
    images = np.zeros((2, 1, 64, 64), np.float32)
    content = export_onnx(network, {"image": images}, tmp_path / "model.onnx").read_bytes()
    assert b".py" not in content and str(Path.cwd()).encode() not in content
