"""Dense alignment of images with words for map classes (skysense-v2.md, 10.5)."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from backend.models.layers.initial import truncated_normal
from backend.models.layers.precision import full_precision
from backend.protocol.errors import ParameterError
from backend.train.data.views import View
from backend.train.objectives.positions import cell_centres, sampled, to_sample

FIRST_TEMPERATURE, LEAST_TEMPERATURE = 0.07, 0.01
EMBEDDINGS = "embeddings"


class TextAlignment(nn.Module):
    """Cross-entropy over the cosines of positions and class vectors, over positions that have a class.

    Args:
        width: channels of the fused map.
        classes: number of map classes.
        embeddings: classes x text width, frozen; None for a learned table of `width` numbers, which makes this a dense
            classification.
    """

    def __init__(self, width: int, classes: int, embeddings: Tensor | None = None) -> None:
        super().__init__()
        text = width if embeddings is None else embeddings.shape[1]
        self.project = nn.Linear(width, text)
        self.temperature = nn.Parameter(torch.empty(()))
        self.words = nn.Parameter(torch.empty(classes, text), requires_grad=embeddings is None)
        self._given = embeddings
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Truncated normal, std 0.02; temperature 0.07; the words as they are given."""
        truncated_normal(self)
        nn.init.constant_(self.temperature, math.log(FIRST_TEMPERATURE))
        if self._given is None:
            nn.init.trunc_normal_(self.words, std=0.02)
        elif self.words.device.type != "meta":
            with torch.no_grad():
                self.words.copy_(self._given)

    def forward(self, fused: Tensor, view: View, classes: Tensor) -> Tensor:
        """Loss of one crop.

        Args:
            fused: B x width x h x w.
            view: where the crop lies.
            classes: B x K x G x G bool over the whole samples.

        Returns:
            float32 scalar, 0 where no position has a class.
        """
        rows, columns = fused.shape[2:]
        cells = cell_centres(rows, columns, fused.device)[None].expand(len(fused), -1, -1)
        there = sampled(classes.float(), to_sample(view, cells)) >= 0.5  # B x N x K
        some = there.any(dim=2)
        if not some.any():
            return fused.new_zeros((), dtype=torch.float32)
        with full_precision(fused.device):
            images = functional.normalize(self.project(fused.float().flatten(2).transpose(1, 2)[some]), dim=1)
            words = functional.normalize(self.words.float(), dim=1)
            temperature = self.temperature.exp().clamp(min=LEAST_TEMPERATURE)
            logarithms = (images @ words.T / temperature).log_softmax(dim=1)
        wanted = there[some].float()
        return -(wanted / wanted.sum(dim=1, keepdim=True) * logarithms).sum(dim=1).mean()


def read_embeddings(path: str | Path) -> Tensor:
    """Text embeddings of the map classes, K x width float32, from a safetensors file with the tensor "embeddings".

    Raises:
        ParameterError: the file cannot be read, or holds no such table.
    """
    try:
        with safe_open(str(path), "pt") as file:
            names = set(file.keys())
            found = file.get_tensor(EMBEDDINGS) if EMBEDDINGS in names else None
    except (OSError, SafetensorError) as error:
        raise ParameterError(f"the text embeddings {path} cannot be read", str(error)) from error
    if found is None or found.ndim != 2:
        raise ParameterError(
            f"{path} holds no text embeddings", "", f'store a table classes x width as the tensor "{EMBEDDINGS}"'
        )
    table: Tensor = found.float()
    return table
