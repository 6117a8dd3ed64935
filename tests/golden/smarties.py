"""The reference values of SMARTIES for tests: trimmed, in every clone, and full, where the shared folder is."""

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

from backend.models.encoders.smarties_pretraining import SmartiesPretraining
from backend.models.encoders.smarties_spectrum import keys_of
from backend.models.load import initialise

HERE = Path(__file__).parent
FULL = HERE.parents[2] / "shared" / "golden"
NAME = "smarties_small"
TOLERANCE = 1e-4  # specification, section 11


@dataclass(frozen=True)
class Golden:
    """Values by the names of the full set, weights by their official names, sizes and tables."""

    values: dict[str, Tensor]
    weights: dict[str, Tensor]
    meta: dict[str, Any]

    def keys(self, group: str) -> tuple[str, ...]:
        """Range keys of a group's bands."""
        return keys_of(self.values[f"{group}/projection_index"].tolist())

    def model(self) -> SmartiesPretraining:
        """The small model with the weights that are there; the others are random."""
        with torch.device("meta"):
            empty = SmartiesPretraining(192, 4, 3, 96, decoder_width=96, decoder_depth=2, decoder_heads=3)
        model = initialise(empty, seed=0)
        state = model.state_dict()
        model.load_state_dict({**state, **self.weights}, strict=True)
        return model.eval()


def trimmed() -> Golden:
    """The set of the repository, made by `trim.py`."""
    tensors = load_file(HERE / "smarties.safetensors")
    weights = {name.removeprefix("weights/"): t for name, t in tensors.items() if name.startswith("weights/")}
    values = {name: t for name, t in tensors.items() if not name.startswith("weights/")}
    return Golden(values, weights, json.loads((HERE / "smarties.json").read_text()))


def full() -> Golden:
    """The whole set; the test is skipped, visibly, where it is missing."""
    if not (FULL / f"{NAME}.npz").is_file():
        pytest.skip("no folder of full reference values")
    with np.load(FULL / f"{NAME}.npz") as archive:
        meta = json.loads(str(archive["meta"]))
        values = {name: torch.from_numpy(archive[name]) for name in archive.files if name != "meta"}
    return Golden(values, load_file(FULL / f"{NAME}.safetensors"), meta)
