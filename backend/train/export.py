"""From a trained network to the files of a model package."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

# Pixels per side of a golden patch. Odd, since outputs are sampled at even distances: a patch whose side divides these
# would be met at the same pixel each time.
PATCH = 29


BATCH = torch.export.Dim("batch")


def export_onnx(
    network: nn.Module,
    feeds: Mapping[str, np.ndarray],
    path: Path,
    dynamic: Sequence[Mapping[int, Any]] | None = None,
) -> Path:
    """Writes the network as one ONNX file: batch dynamic, every other size as in `feeds`.

    Args:
        network: names its inputs and outputs, see `backend.models.registry`.
        feeds: example of every input with a batch of at least 2, since a batch of 1 would be taken as fixed.
        path: of the file.
        dynamic: further dynamic axes, for each input those that are; None for the batch alone.
    """
    names = tuple(network.input_names)  # type: ignore[arg-type]
    axes: tuple[Any, ...] = tuple(dict(axes) for axes in dynamic or [{0: BATCH}] * len(names))
    kinds = {parameter.kind for parameter in inspect.signature(network.forward).parameters.values()}
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        axes = (axes,)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecated calls
        torch.onnx.export(
            network.eval(),
            tuple(torch.from_numpy(feeds[name]) for name in names),
            str(path),
            dynamo=True,
            input_names=list(names),
            output_names=list(network.output_names),  # type: ignore[arg-type]
            dynamic_shapes=axes,
            external_data=False,
            verbose=False,
        )
    return forget_origin(path)


def forget_origin(path: Path) -> Path:
    """Remove what the exporter notes of source lines: they name folders of the machine that made the file."""
    model = onnx.load(path)
    for noted in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        del noted.metadata_props[:]
        noted.ClearField("doc_string")
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    onnx.save(model, path)
    return path


def noise_patch(low: np.ndarray, high: np.ndarray, seed: int = 0, size: int = PATCH) -> np.ndarray:
    """A synthetic golden patch, 1 x bands x size x size float32: smooth waves and noise between two spectra.

    Args:
        low: values per band at one end, such as a typical water spectrum.
        high: values per band at the other end, such as typical land.
    """
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:size, 0:size] * (2 * np.pi / size)
    waves = sum(
        np.sin(a * rows + b * columns + generator.uniform(0, 2 * np.pi)) for a, b in generator.integers(0, 4, (6, 2))
    )
    share = np.clip(0.5 + 0.25 * waves + 0.05 * generator.normal(size=(len(low), size, size)), 0, 1)
    patch = low[:, None, None] + share * (high - low)[:, None, None]
    return np.asarray(patch[None], dtype=np.float32)


def outputs_of(network: nn.Module, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the network gives in float32 torch, by output name; the reference for a package's golden data."""
    with torch.inference_mode():
        values = network(*(torch.from_numpy(feeds[name]) for name in network.input_names))  # type: ignore[union-attr]
    values = (values,) if isinstance(values, torch.Tensor) else values
    names = network.output_names
    return {name: value.numpy() for name, value in zip(names, values, strict=True)}  # type: ignore[arg-type]
