"""Heads: from an encoder's features to what a task wants. By name: `names` and `build`.

A head knows nothing of the encoder but the channels of its features. There are five kinds by what `forward` takes:

    maps        (maps, size): maps B x C x h x w, fine to coarse -> logits B x classes x H x W of `size`
    series      (maps, size): maps B x dates x C x h x w -> the same
    change      (before, after, size): maps of two dates -> the same, or the classes of both dates
    scene       (features): B x C or B x C x h x w -> logits B x classes
    probe       (features): B x C or B x C x h x w -> logits B x classes or B x classes x h x w
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from backend.models.heads.bit import BIT
from backend.models.heads.classify import SceneClassifier
from backend.models.heads.faster_rcnn import FasterRCNN
from backend.models.heads.fcn import FCN, WithAuxiliary
from backend.models.heads.linear_map import LinearMap
from backend.models.heads.oriented_rcnn import OrientedRCNN
from backend.models.heads.probes import LinearProbe, NearestNeighbours, PrototypeProbe
from backend.models.heads.pyramid import PyramidUPerNet
from backend.models.heads.siamese import SemanticChange, SiameseDifference
from backend.models.heads.temporal import SeriesHead
from backend.models.heads.upernet import FusedUPerNet, UPerNet
from backend.models.load import initialise
from backend.protocol.errors import PackageError


def _with_auxiliary(channels: Sequence[int], classes: int, **arguments: Any) -> WithAuxiliary:
    return WithAuxiliary(UPerNet(channels, classes, **arguments), channels, classes)


def _series_upernet(channels: Sequence[int], classes: int, dates: int, **arguments: Any) -> SeriesHead:
    return SeriesHead(PyramidUPerNet(channels, classes, **arguments), dates)


def _siamese_upernet(channels: Sequence[int], classes: int = 2, **arguments: Any) -> SiameseDifference:
    return SiameseDifference(UPerNet(channels, classes, **arguments))


def _semantic_change(channels: Sequence[int], classes: int, **arguments: Any) -> SemanticChange:
    return SemanticChange(UPerNet(channels, classes, **arguments))


KINDS: dict[str, dict[str, Callable[..., nn.Module]]] = {
    "maps": {
        "upernet": UPerNet,
        "upernet-auxiliary": _with_auxiliary,
        "upernet-fused": FusedUPerNet,
        "upernet-pyramid": PyramidUPerNet,
        "fcn": FCN,
        "linear-map": LinearMap,
    },
    "series": {"upernet-series": _series_upernet},
    "change": {
        "bit": BIT,
        "upernet-difference": _siamese_upernet,
        "upernet-semantic-change": _semantic_change,
    },
    "scene": {"scene-classifier": SceneClassifier},
    "probe": {
        "linear-probe": LinearProbe,
        "prototypes": PrototypeProbe,
        "nearest-neighbours": NearestNeighbours,
    },
}
# Detectors have a call of their own: (maps, size, targets) -> losses, or detections.
DETECTORS: dict[str, Callable[..., nn.Module]] = {"faster-rcnn": FasterRCNN, "oriented-rcnn": OrientedRCNN}
HEADS: dict[str, Callable[..., nn.Module]] = {name: head for kind in KINDS.values() for name, head in kind.items()}


def names(kind: str | None = None) -> list[str]:
    """Every head, or those of one kind."""
    return list(HEADS if kind is None else KINDS[kind])


def build(name: str, device: str = "cpu", seed: int | None = None, **arguments: Any) -> nn.Module:
    """A head or detector with initial weights; on device "meta" without memory and without values.

    Args:
        name: one of `names` or of `DETECTORS`.
        device: where it is made.
        seed: of the random weights; None leaves torch's generator as it is.
        **arguments: of the head.

    Raises:
        PackageError: the name is unknown, or the arguments do not fit.
    """
    known = {**HEADS, **DETECTORS}
    if name not in known:
        raise PackageError(f"there is no head {name!r}", f"there is {', '.join(known)}")
    try:
        with torch.device("meta"):
            module = known[name](**arguments)
    except (TypeError, ValueError, IndexError) as error:
        raise PackageError(f"the head {name!r} cannot be built like that", str(error)) from error
    return module if device == "meta" else initialise(module, device, seed)
