"""Strict loading and complete initialisation of weights.

Weights come from safetensors files only. A tensor that is missing, unexpected or of another shape is an error that
names it. Modules can be built on the meta device; before initialisation every value is NaN, so that a parameter which
an initialisation forgets shows at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from backend.protocol.errors import InternalError, PackageError, ParameterError

SHOWN = 5  # names in a message
REPAIR = "check that this is the file you meant; a model package is repaired by installing it again"


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def check_tensors(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Compares names and shapes with the module's state.

    Raises:
        PackageError: a tensor is missing, unexpected or of another shape; the message names it.
    """
    expected = module.state_dict()
    missing = sorted(set(expected) - set(tensors))
    unexpected = sorted(set(tensors) - set(expected))
    shapes = [
        f"{name} is {tuple(tensors[name].shape)}, not {tuple(expected[name].shape)}"
        for name in sorted(set(expected) & set(tensors))
        if tensors[name].shape != expected[name].shape
    ]
    reasons = []
    if missing:
        reasons.append(f"missing {_shown(missing)}")
    if unexpected:
        reasons.append(f"unexpected {_shown(unexpected)}")
    if shapes:
        reasons.append(_shown(shapes))
    if reasons:
        raise PackageError(f"the weights {source} do not fit the model", "; ".join(reasons), REPAIR)


def load_weights(module: nn.Module, path: str | Path) -> nn.Module:
    """Fills the module, which may be on the meta device, from a safetensors file; nothing is kept of its old values.

    Raises:
        PackageError: the file cannot be read or does not fit the module.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise PackageError(f"the weights {path} cannot be read", str(error), REPAIR) from error
    check_tensors(module, tensors, str(path))
    expected = module.state_dict()
    converted = {name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()}
    module.load_state_dict(converted, strict=True, assign=True)
    return module


def save_weights(module: nn.Module, path: str | Path, half: bool = False) -> None:
    """Writes the module's state as safetensors; in half precision where that is wanted, see `rounded`."""
    state = module.state_dict()
    if half:
        state = {name: tensor.half() if tensor.dtype == torch.float32 else tensor for name, tensor in state.items()}
    save_tensors(state, path)


@torch.no_grad()
def rounded(module: nn.Module) -> nn.Module:
    """The module with its float32 values rounded to half precision, so that storing them so loses nothing.

    Raises:
        ParameterError: a value is beyond what half precision holds.
    """
    for name, tensor in module.state_dict().items():
        if tensor.dtype == torch.float32:
            tensor.copy_(tensor.half())
            if not torch.isfinite(tensor).all():
                raise ParameterError(f"{name} cannot be stored in half precision", "a value is too large for it")
    return module


def save_tensors(tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Writes a module's state as safetensors; the file appears when it is complete."""
    part = Path(path).with_name(Path(path).name + ".part")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, str(part))
    part.replace(path)


def _parts_first(module: nn.Module) -> Iterator[nn.Module]:
    """Every module behind its parts, which keep their order: so the whole has the last word."""
    for child in module.children():
        yield from _parts_first(child)
    yield module


def initialise(module: nn.Module, device: str = "cpu", seed: int | None = None) -> nn.Module:
    """Gives a module, usually built on the meta device, its initial values.

    Raises:
        InternalError: a parameter or buffer is not covered by any `reset_parameters`; the message names it.
    """
    if seed is not None:
        torch.manual_seed(seed)
    module.to_empty(device=device)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.fill_(float("nan"))
    for part in _parts_first(module):
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()
    forgotten = [name for name, tensor in module.state_dict().items() if bool(torch.isnan(tensor).any())]
    if forgotten:
        raise InternalError(f"{type(module).__name__} leaves values without initialisation", _shown(forgotten))
    return module
