"""Files in the published layouts of SMARTIES (smarties.md, 10.1 and 10.2), with the real names and relations."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from backend.models.encoders.smarties import MEMBERS, position_rows
from backend.models.encoders.smarties_pretraining import SmartiesPretraining

Tensors = dict[str, Tensor]
POSITIONS = 14


@cache
def encoder_tensors(member: str = "tiny") -> Tensors:
    """Small random weights, positions by formula; made without the time that an initialisation takes."""
    with torch.device("meta"):
        module = MEMBERS[f"smarties-{member}"]()
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in ((name, tensor.shape) for name, tensor in module.state_dict().items()):
        if name == "pos_embed":
            tensors[name] = position_rows(POSITIONS, POSITIONS, shape[2])
        elif "norm" in name and name.endswith("weight"):
            tensors[name] = torch.ones(shape)
        else:
            tensors[name] = torch.rand(shape, generator=generator).sub_(0.5).mul_(0.1)
    return tensors


def pretrained(member: str = "tiny", decoder: tuple[int, int] | None = None) -> Tensors:
    """The pre-trained layout, with a decoder of this width and depth where there is to be one."""
    tensors = dict(encoder_tensors(member))
    if decoder:
        width, depth = decoder
        with torch.device("meta"):
            module = SmartiesPretraining(
                **MEMBERS[f"smarties-{member}"].keywords,  # type: ignore[attr-defined]
                decoder_width=width,
                decoder_depth=depth,
                decoder_heads=width // 32,
            )
        shapes = {name: tensor.shape for name, tensor in module.state_dict().items() if name not in tensors}
        tensors |= {name: torch.zeros(shape) for name, shape in shapes.items()}
        tensors["decoder_pos_embed"] = position_rows(POSITIONS, POSITIONS, width)
    return tensors


def with_head(layout: str, classes: int, member: str = "tiny") -> Tensors:
    """A layout with a head."""
    encoder = encoder_tensors(member)
    width = encoder["cls_token"].shape[2]
    generator = torch.Generator().manual_seed(1)

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator) - 0.5

    inputs = 2 * width if layout == "multimodal-probe" else width
    heads: dict[str, Tensors] = {
        "finetuned": {"head.weight": rand(classes, width), "head.bias": rand(classes)},
        "segmentation": {"head.0.weight": rand(classes, width, 1, 1), "head.0.bias": rand(classes)},
    }
    probe = {
        "head.0.running_mean": rand(inputs),
        "head.0.running_var": rand(inputs).abs() + 0.1,
        "head.0.num_batches_tracked": torch.tensor(7),
        "head.1.weight": rand(classes, inputs),
        "head.1.bias": rand(classes),
    }
    return {**encoder, **heads.get(layout, probe)}


def written(tensors: Tensors, path: Path) -> Path:
    """The file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, path)
    return path
