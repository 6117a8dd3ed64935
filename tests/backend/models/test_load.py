"""Strict weights and complete initialisation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from backend.models.load import initialise, load_weights, rounded, save_weights
from backend.models.registry import build, names
from backend.protocol.errors import InternalError, PackageError, ParameterError

PARAMETERS = {"input_name": "image", "mean": [0.1, 0.2], "std": [0.1, 0.1], "width": 4}


def network(device: str = "meta") -> nn.Module:
    return build("baseline", PARAMETERS, device=device)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_weights(initialise(network(), seed=3), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_round_trip_from_the_meta_device(weights: Path) -> None:
    first, second = initialise(network(), seed=3).eval(), load_weights(network(), weights).eval()
    image = torch.rand(1, 2, 16, 16)
    assert torch.equal(first(image), second(image))


def test_half_precision_weights_become_float32(weights: Path) -> None:
    save_file({name: t.half() if t.is_floating_point() else t for name, t in load_file(weights).items()}, weights)
    assert {p.dtype for p in load_weights(network(), weights).parameters()} == {torch.float32}


def test_differences_name_the_tensor(weights: Path) -> None:
    tensors = load_file(weights)
    for change, words in (
        ({k: v for k, v in tensors.items() if k != "stem.1.bias"}, r"missing stem\.1\.bias"),
        ({**tensors, "extra.weight": torch.zeros(1)}, r"unexpected extra\.weight"),
        ({**tensors, "classify.bias": torch.zeros(7)}, r"classify\.bias is \(7,\), not \(2,\)"),
    ):
        save_file(change, weights)
        with pytest.raises(PackageError, match=words) as caught:
            load_weights(network(), weights)
        assert "the file you meant" in caught.value.fix  # it may be a file of the user's own, in no package


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    for name, content in (("absent", None), ("text", b"not a header"), ("empty", b"")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(PackageError, match="cannot be read"):
            load_weights(network(), tmp_path / name)


def test_forgotten_parameter_is_named() -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.forgotten = nn.Parameter(torch.empty(3))

    with torch.device("meta"):
        module = Forgetful()
    with pytest.raises(InternalError, match="forgotten"):
        initialise(module)


def test_initialisation_follows_the_seed() -> None:
    one, same, other = (initialise(network(), seed=seed).state_dict()["stem.0.weight"] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_registry_refuses_what_it_does_not_know() -> None:
    assert "baseline" in names()
    with pytest.raises(PackageError, match="unknown"):
        build("no-such-network")
    with pytest.raises(PackageError, match="do not fit"):
        build("baseline", {"colour": "blue"})


def test_rounded_weights_survive_half_precision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = rounded(nn.Linear(7, 5))
    save_weights(module, tmp_path / "half.safetensors", half=True)
    again = load_weights(nn.Linear(7, 5, device="meta"), tmp_path / "half.safetensors")
    assert torch.equal(again.weight, module.weight) and again.weight.dtype == torch.float32  # type: ignore[union-attr]
    assert {tensor.dtype for tensor in load_file(tmp_path / "half.safetensors").values()} == {torch.float16}
    with torch.no_grad():
        module.bias.fill_(1e6)  # type: ignore[union-attr]
    with pytest.raises(ParameterError, match="too large"):
        rounded(module)
