"""The reference values of SkySense v1 for tests (skysense-v2.md, 16, point 6), where the shared folder is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

FOLDER = Path(__file__).parents[3] / "shared" / "golden"
NAME = "skysense_small"
TOLERANCE = 1e-4  # specification, section 16


@dataclass(frozen=True)
class Golden:
    """Values and weights by their names in the files, and the sizes of the networks."""

    values: dict[str, Tensor]
    weights: dict[str, Tensor]
    meta: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Weights below a prefix, without it."""
        return {name.removeprefix(prefix): t for name, t in self.weights.items() if name.startswith(prefix)}


def read() -> Golden:
    """The whole set; the test is skipped, visibly, where it is missing."""
    if not (FOLDER / f"{NAME}.npz").is_file():
        pytest.skip("no folder of full reference values")
    with np.load(FOLDER / f"{NAME}.npz") as archive:
        meta = json.loads(str(archive["meta"]))
        values = {name: torch.from_numpy(archive[name]) for name in archive.files if name != "meta"}
    return Golden(values, load_file(FOLDER / f"{NAME}.safetensors"), meta)
