"""Architectures by name: what a torch variant of a model package may ask for.

An architecture is a module that names the tensors it takes and gives, in the order of its `forward`:

    input_names: tuple[str, ...]      names of the positional arguments
    output_names: tuple[str, ...]     names of the tensor, or of the tuple of tensors, that is returned

or a staged network, whose stages do; see `backend.models.stages`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from backend.models.baseline import Baseline
from backend.models.encoders.smarties_pair import SmartiesPair
from backend.models.encoders.staged import StagedSkySenseV2, StagedSmarties
from backend.models.heads.packaged import PackagedDetector, PackagedHead
from backend.protocol.errors import PackageError

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "baseline": Baseline,
    "detector": PackagedDetector,
    "head": PackagedHead,
    "skysense-v2": StagedSkySenseV2,
    "smarties": StagedSmarties,
    "smarties-pair": SmartiesPair,
}


def names() -> list[str]:
    """Every architecture name, sorted."""
    return sorted(ARCHITECTURES)


def build(name: str, parameters: Mapping[str, Any] | None = None, device: str = "cpu") -> nn.Module:
    """The architecture `name` with its parameters; on device "meta" it takes no memory.

    Raises:
        PackageError: the name is unknown or the parameters do not fit it.
    """
    if name not in ARCHITECTURES:
        raise PackageError(
            f"the model architecture {name!r} is unknown",
            f"this version knows {', '.join(names())}",
            "update EarthPrism or use another model",
        )
    try:
        with torch.device(device):
            return ARCHITECTURES[name](**(parameters or {}))
    except (TypeError, ValueError) as error:
        raise PackageError(f"the parameters of the architecture {name!r} do not fit", str(error)) from error
