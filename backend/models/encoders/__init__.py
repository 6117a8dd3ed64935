"""Encoders by name: `names`, `build` and `load`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from backend.models.encoders.skysense_v2 import MEMBERS as SKYSENSE_V2
from backend.models.encoders.smarties import MEMBERS as SMARTIES
from backend.models.load import initialise, load_weights
from backend.protocol.errors import PackageError

MEMBERS: dict[str, Callable[..., nn.Module]] = {**SKYSENSE_V2, **SMARTIES}


def names() -> list[str]:
    """Every encoder, families together, small to large."""
    return list(MEMBERS)


def build(name: str, device: str = "cpu", seed: int | None = None, **changes: Any) -> nn.Module:
    """An encoder with random initial weights; on device "meta" without memory and without values.

    Args:
        name: one of `names`.
        seed: of the random weights; None leaves torch's generator as it is.
        **changes: arguments of the encoder that differ from the named member's.

    Raises:
        PackageError: the name is unknown, or a change does not fit.
    """
    module = _structure(name, **changes)
    return module if device == "meta" else initialise(module, device, seed)


def load(name: str, path: str | Path, device: str = "cpu", **changes: Any) -> nn.Module:
    """An encoder with the weights of a safetensors file, without a second copy of them in memory; in evaluation mode.

    Raises:
        PackageError: the name is unknown, or a tensor is missing, unexpected or of another shape.
    """
    return load_weights(_structure(name, **changes), path).eval().to(device)


def _structure(name: str, **changes: Any) -> nn.Module:
    if name not in MEMBERS:
        raise PackageError(f"there is no encoder {name!r}", f"there is {', '.join(names())}")
    try:
        with torch.device("meta"):
            return MEMBERS[name](**changes)
    except (TypeError, ValueError) as error:
        raise PackageError(f"the encoder {name!r} cannot be built like that", str(error)) from error
