"""Reads published SMARTIES files: recognises what a file holds and builds the modules that fit it (section 10).

Only safetensors files are read, and nothing in them is left over: a name that no layout has, or one that is missing,
is an error that says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from backend.models.encoders.smarties import EPS, Smarties, position_rows
from backend.models.encoders.smarties_pretraining import SmartiesPretraining
from backend.models.encoders.smarties_projection import PATCH
from backend.models.load import check_tensors
from backend.protocol.errors import PackageError

PRETRAINED = "pretrained"
FINETUNED = "finetuned"
LINEAR_PROBE = "linear-probe"
MULTIMODAL_PROBE = "multimodal-probe"
SEGMENTATION = "segmentation"
KINDS = (PRETRAINED, FINETUNED, LINEAR_PROBE, MULTIMODAL_PROBE, SEGMENTATION)

PREFIXES = ("model.", "module.", "smarties.", "backbone.")  # section 10.3
HEAD_WIDTH, DECODER_HEAD_WIDTH = 64, 32  # numbers per attention head of every released size (section 1)
RELEASED_DEPTHS = {768: 12, 1024: 24}  # by width (section 1)
RELEASED_DECODER = (512, 8)  # width, depth (section 1)
POSITION_TOLERANCE = 1e-5  # section 10.4

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class OfficialWeights:
    """What a published file holds, in float32.

    Attributes:
        source: the file.
        kind: one of `KINDS`.
        width, depth, image_size: of the encoder.
        global_pool: whether the feature is pooled, see `Smarties`.
        encoder: tensors of `Smarties`.
        decoder: the further tensors of `SmartiesPretraining`; empty where there are none.
        head: tensors of the head, without the leading "head."; empty for pre-trained files.
        stored: type of the position table in the file.
    """

    source: str
    kind: str
    width: int
    depth: int
    image_size: int
    global_pool: bool
    encoder: dict[str, Tensor]
    decoder: dict[str, Tensor]
    head: dict[str, Tensor]
    stored: torch.dtype

    @property
    def classes(self) -> int | None:
        """Number of classes of the head."""
        biases = [tensor for name, tensor in self.head.items() if name.endswith("bias")]
        return biases[0].numel() if biases else None


def read_official(path: str | Path) -> OfficialWeights:
    """Reads a published file and checks all of it.

    Raises:
        PackageError: the file cannot be read, a tensor is missing, unexpected or of another shape, or the position
            table of a pre-trained file is not the published one.
    """
    source = str(path)
    encoder, decoder, head = _groups(_tensors(path), source)
    stored = encoder["pos_embed"].dtype if "pos_embed" in encoder else torch.float32
    encoder, decoder, head = (_single(group) for group in (encoder, decoder, head))
    width, depth, side = _sizes(encoder, source)
    kind = _kind(head, width, source)
    if decoder and kind != PRETRAINED:
        raise _misfit(source, f"unexpected {', '.join(sorted(decoder))} beside a head")
    pooled = kind != PRETRAINED and "fc_norm.weight" in encoder
    weights = OfficialWeights(source, kind, width, depth, side * PATCH, pooled, encoder, decoder, head, stored)
    check_tensors(_empty_encoder(weights), encoder, source)
    if decoder:
        check_tensors(_empty_pretraining(weights), {**encoder, **decoder}, source)
    if kind == PRETRAINED:
        _check_positions(weights)
    else:
        named = {f"head.{name}": tensor for name, tensor in head.items()}
        check_tensors(nn.ModuleDict({"head": _empty_head(weights)}), named, source)
    return weights


def build_encoder(weights: OfficialWeights) -> Smarties:
    """The encoder, in evaluation mode; it shares the memory of `weights`.

    Fine-tuning trains the position table, so for other image sizes a fine-tuned table is resized, not built anew.
    """
    return _filled(_empty_encoder(weights), weights.encoder)


def build_pretraining(weights: OfficialWeights) -> SmartiesPretraining:
    """Encoder and decoder, in training mode.

    Raises:
        PackageError: the file holds no decoder.
    """
    if not weights.decoder:
        raise PackageError(
            f"the weights {weights.source} cannot go on with pre-training", "they hold no decoder", "take other weights"
        )
    return _filled(_empty_pretraining(weights), {**weights.encoder, **weights.decoder}).train()


def build_head(weights: OfficialWeights) -> nn.Module:
    """The head, in evaluation mode.

    It takes the encoder's `feature` B x width; a multi-modal probe that of two streams, B x (2 width) as
    `smarties_fusion.mixed` gives it; a segmentation head the `dense` map. It gives logits.

    Raises:
        PackageError: the file holds no head.
    """
    if weights.kind == PRETRAINED:
        raise PackageError(f"the weights {weights.source} hold no head", "they are pre-trained only", "train a head")
    return _filled(_empty_head(weights), weights.head)


def _misfit(source: str, reason: str) -> PackageError:
    return PackageError(f"the weights {source} are no SMARTIES weights", reason, "take a published file")


def _tensors(path: str | Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        fix = "only safetensors files are read"
        raise PackageError(f"the weights {path} cannot be read", str(error), fix) from error
    return tensors


def _single(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def _groups(tensors: Mapping[str, Tensor], source: str) -> tuple[dict[str, Tensor], ...]:
    """Tensors of the encoder, the decoder and the head, without prefixes."""
    encoder: dict[str, Tensor] = {}
    decoder: dict[str, Tensor] = {}
    head: dict[str, Tensor] = {}
    for original, tensor in tensors.items():
        name = original
        while prefix := next((prefix for prefix in PREFIXES if name.startswith(prefix)), ""):
            name = name.removeprefix(prefix)
        if name.startswith("head."):
            group, name = head, name.removeprefix("head.")
        else:
            group = decoder if name == "mask_token" or name.startswith("decoder_") else encoder
        if name in group:
            raise _misfit(source, f"two tensors are {name} once prefixes are gone, one of them {original}")
        if not tensor.is_floating_point() and not name.endswith("num_batches_tracked"):
            raise _misfit(source, f"{original} holds integers")
        group[name] = tensor
    return encoder, decoder, head


def _sizes(encoder: Mapping[str, Tensor], source: str) -> tuple[int, int, int]:
    """Width, depth and side of the position table's grid."""
    for name in ("cls_token", "pos_embed"):
        if name not in encoder:
            raise _misfit(source, f"missing {name}")
        if encoder[name].ndim != 3:
            raise _misfit(source, f"{name} is {tuple(encoder[name].shape)}")
    width = encoder["cls_token"].shape[2]
    rows = encoder["pos_embed"].shape[1]
    side = round(max(rows - 1, 0) ** 0.5)
    if width == 0 or width % HEAD_WIDTH:
        raise _misfit(source, f"a width of {width} has no whole number of attention heads")
    if side == 0 or side**2 + 1 != rows:
        raise _misfit(source, f"pos_embed has {rows} rows, which is no square grid and a class token")
    # Counting blocks alone would take a file that lacks its last blocks for a shallower model.
    return width, max(_depth(encoder, "blocks"), RELEASED_DEPTHS.get(width, 1)), side


def _depth(tensors: Mapping[str, Tensor], blocks: str) -> int:
    numbers = [int(found[1]) for name in tensors if (found := re.match(rf"{blocks}\.(\d{{1,3}})\.", name))]
    return max(numbers, default=-1) + 1


def _kind(head: Mapping[str, Tensor], width: int, source: str) -> str:
    if not head:
        return PRETRAINED
    if "weight" in head:
        return FINETUNED
    if "0.weight" in head:
        return SEGMENTATION
    weight = head.get("1.weight")
    if weight is None or weight.ndim != 2:
        raise _misfit(source, f"no head is made of {', '.join(f'head.{name}' for name in sorted(head))}")
    return MULTIMODAL_PROBE if weight.shape[1] == 2 * width else LINEAR_PROBE


def _empty_encoder(weights: OfficialWeights) -> Smarties:
    heads = weights.width // HEAD_WIDTH
    positions = "formula" if weights.kind == PRETRAINED else "resized"
    with torch.device("meta"):
        return Smarties(weights.width, weights.depth, heads, weights.image_size, weights.global_pool, positions)


def _empty_pretraining(weights: OfficialWeights) -> SmartiesPretraining:
    norm = weights.decoder.get("decoder_norm.weight")
    width = RELEASED_DECODER[0] if norm is None else norm.numel()
    if width == 0 or width % DECODER_HEAD_WIDTH:
        raise _misfit(weights.source, f"a decoder width of {width} has no whole number of attention heads")
    depth = max(_depth(weights.decoder, "decoder_blocks"), RELEASED_DECODER[1] if width == RELEASED_DECODER[0] else 1)
    heads, decoder_heads = weights.width // HEAD_WIDTH, width // DECODER_HEAD_WIDTH
    with torch.device("meta"):
        return SmartiesPretraining(weights.width, weights.depth, heads, weights.image_size, width, depth, decoder_heads)


def _empty_head(weights: OfficialWeights) -> nn.Module:
    classes = weights.classes or 1
    with torch.device("meta"):
        if weights.kind == FINETUNED:
            return nn.Linear(weights.width, classes)
        if weights.kind == SEGMENTATION:
            return nn.Sequential(nn.Conv2d(weights.width, classes, 1))
        inputs = weights.width * (2 if weights.kind == MULTIMODAL_PROBE else 1)
        # Section 8.2: batch normalisation without affine parameters, eps 1e-6.
        return nn.Sequential(nn.BatchNorm1d(inputs, eps=EPS, affine=False), nn.Linear(inputs, classes))


def _check_positions(weights: OfficialWeights) -> None:
    side = weights.image_size // PATCH
    # The table lies in -1..1, where rounding to the stored type costs up to a quarter of its step at 1.
    tolerance = POSITION_TOLERANCE + torch.finfo(weights.stored).eps / 4
    tables = {"pos_embed": weights.encoder["pos_embed"]}
    if weights.decoder:
        tables["decoder_pos_embed"] = weights.decoder["decoder_pos_embed"]
    for name, table in tables.items():
        difference = float((table - position_rows(side, side, table.shape[2])).abs().max())
        if not difference <= tolerance:
            raise _misfit(weights.source, f"{name} differs from the published formula by up to {difference:.3g}")


def _filled(module: Module, tensors: Mapping[str, Tensor]) -> Module:
    module.load_state_dict(dict(tensors), strict=True, assign=True)
    module.eval()
    return module
