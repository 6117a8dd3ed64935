"""SMARTIES (Sumbul et al. 2025): one plain vision transformer for any set of spectral bands.

Bands become tokens in `smarties_projection`; this module holds the encoder behind it. Tensor names are those of the
published files. Sections refer to the model's specification (smarties.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.models.encoders.smarties_projection import PATCH, Bands, SpectrumProjection
from backend.models.encoders.smarties_spectrum import Blend, interpolate
from backend.models.layers.constants import Memory
from backend.models.layers.positions import sine_cosine_table
from backend.models.layers.transformer import TransformerBlock

EPS = 1e-6  # of every LayerNorm (section 1)
POSITION_MODES = ("formula", "resized")


class SmartiesFeatures(NamedTuple):
    """What the encoder gives (section 6.3).

    Attributes:
        feature: B x width, the class feature, or the pooled one where the encoder pools.
        dense: B x width x H/16 x W/16, patch tokens of the last block without the final norm.
        tokens: B x (1 + L) x width, class token first, last block without the final norm; the encoder's `norm` adds
            it, for it is not known which of both the model on the Hub returns.
        maps: patch tokens of the blocks asked for, each B x width x H/16 x W/16 without the final norm.
    """

    feature: Tensor
    dense: Tensor
    tokens: Tensor
    maps: tuple[Tensor, ...]


class SmartiesBackbone(nn.Module):
    """Projection, position table and blocks, which the encoder and its pre-training share.

    Args:
        width: numbers per token.
        depth: transformer blocks.
        heads: attention heads.
        image_size: height and width in pixels that the stored position table is for.
        global_pool: the feature is the mean of the patch tokens behind `fc_norm` in place of the class token behind
            `norm` (fine-tuned models only).
        positions: what other image sizes get: "formula" builds the table anew, "resized" resizes the stored one
            bicubically, which published numbers and trained tables want (section 6.2).
        learned: keys of ranges with projections beyond the released ones.
    """

    multiple = PATCH

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        image_size: int = 224,
        global_pool: bool = False,
        positions: str = "formula",
        learned: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if positions not in POSITION_MODES:
            raise ValueError(f"there are no positions {positions!r}, there is {' and '.join(POSITION_MODES)}")
        self.width = width
        self.positions = positions
        self.global_pool = global_pool
        self.grid = image_size // PATCH
        self.spectrum_projection = SpectrumProjection(width, learned)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + self.grid**2, width))
        self._tables = Memory()
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, eps=EPS) for _ in range(depth))
        self.norm = nn.Identity() if global_pool else nn.LayerNorm(width, eps=EPS)
        self.fc_norm = nn.LayerNorm(width, eps=EPS) if global_pool else nn.Identity()

    def reset_parameters(self) -> None:
        """Xavier-uniform linear layers, zero biases, N(0, 0.02) class token, positions by formula (section 7)."""
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
                nn.init.zeros_(part.bias)
        nn.init.normal_(self.cls_token, std=0.02)
        with torch.no_grad():
            self.pos_embed.copy_(position_rows(self.grid, self.grid, self.width))

    def bands(self, keys: Sequence[str], mode: str = "released") -> tuple[Blend, ...]:
        """The bands of an image, from range keys in channel order; see `SpectrumProjection.blends`."""
        return self.spectrum_projection.blends(keys, mode)

    def learn_band(self, key: str, low_nm: float, high_nm: float, mode: str = "released") -> None:
        """Gives an unseen band a projection to train, started from its interpolation (section 9).

        `bands` knows the key from then on; a model that loads the weights is built with `learned` naming it.

        Raises:
            ParameterError: the key cannot be used, or the band lies outside the trained wavelengths.
        """
        self.spectrum_projection.learn(key, interpolate((low_nm + high_nm) / 2, mode))

    def features(
        self, image: Tensor, bands: Bands, present: Tensor | None = None, blocks: Sequence[int] = ()
    ) -> SmartiesFeatures:
        """Encode an image.

        Args:
            image: B x C x H x W, normalised; H and W are multiples of 16.
            bands: what each channel is, from `bands`, or a tensor C x layers that mixes layers.
            present: B x C, 0 where a band is missing; None where all are there.
            blocks: numbers, from 0, of the blocks whose maps are wanted (3, 5, 7, 11 of ViT-B; section 8.5).
        """
        tokens = self.spectrum_projection(image, bands, present)
        return self.encode(tokens, (image.shape[2] // PATCH, image.shape[3] // PATCH), blocks)

    def encode(self, tokens: Tensor, grid: tuple[int, int], blocks: Sequence[int] = ()) -> SmartiesFeatures:
        """The encoder behind the projection: tokens B x L x width of a grid rows x columns, without positions.

        Raises:
            ValueError: a block that is asked for does not exist.
        """
        if any(not 0 <= block < len(self.blocks) for block in blocks):
            raise ValueError(f"there are blocks 0 to {len(self.blocks) - 1}, not {tuple(blocks)}")
        table = self.position_table(*grid)
        sequence = self.with_class(tokens + table[:, 1:], table)
        kept = {}
        for number, block in enumerate(self.blocks):
            sequence = block(sequence)
            if number in blocks:
                kept[number] = as_map(sequence, grid)
        maps = tuple(kept[number] for number in blocks)
        return SmartiesFeatures(self.feature(sequence), as_map(sequence, grid), sequence, maps)

    def feature(self, tokens: Tensor) -> Tensor:
        """B x (1 + L) x width of the last block -> B x width (section 6.3)."""
        if self.global_pool:
            pooled: Tensor = self.fc_norm(tokens[:, 1:].mean(1))
            return pooled
        result: Tensor = self.norm(tokens[:, 0])
        return result

    def with_class(self, tokens: Tensor, table: Tensor) -> Tensor:
        """Prepends the class token with row 0 of the position table: B x n x width -> B x (1 + n) x width."""
        first = (self.cls_token + table[:, :1]).to(tokens.dtype)
        return torch.cat([first.expand(tokens.shape[0], -1, -1), tokens], dim=1)

    def position_table(self, rows: int, columns: int) -> Tensor:
        """1 x (1 + rows * columns) x width for a grid of patches (section 6.2)."""
        if (rows, columns) == (self.grid, self.grid):
            return self.pos_embed
        return self._tables.recall((rows, columns), [self.pos_embed], lambda: self._other_table(rows, columns))

    def _other_table(self, rows: int, columns: int) -> Tensor:
        if self.positions == "formula":
            built = position_rows(rows, columns, self.width).to(self.pos_embed)
            return torch.cat([self.pos_embed[:, :1], built[:, 1:]], dim=1)
        return resized_positions(self.pos_embed, rows, columns)


class Smarties(SmartiesBackbone):
    """The encoder; arguments as `SmartiesBackbone`."""

    def __init__(
        self,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        image_size: int = 224,
        global_pool: bool = False,
        positions: str = "formula",
        learned: Sequence[str] = (),
    ) -> None:
        super().__init__(width, depth, heads, image_size, global_pool, positions, learned)
        self.reset_parameters()

    def forward(
        self, image: Tensor, bands: Bands, present: Tensor | None = None, blocks: Sequence[int] = ()
    ) -> SmartiesFeatures:
        """Encode an image, see `features`."""
        return self.features(image, bands, present, blocks)


def position_rows(rows: int, columns: int, width: int) -> Tensor:
    """1 x (1 + rows * columns) x width float32 on the CPU: a zero row for the class token, then the fixed table."""
    table = sine_cosine_table(rows, columns, width)
    return torch.cat([table.new_zeros(1, width), table])[None]


def resized_positions(table: Tensor, rows: int, columns: int) -> Tensor:
    """Resizes the patch rows of a stored table 1 x (1 + g * g) x width bicubically; the class row stays."""
    side = round((table.shape[1] - 1) ** 0.5)
    maps = table[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2).float()
    resized = functional.interpolate(maps, size=(rows, columns), mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], resized.flatten(2).transpose(1, 2).to(table)], dim=1)


def as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """B x (1 + L) x width, class token first -> B x width x rows x columns."""
    return tokens[:, 1:].transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *grid)


MEMBERS: dict[str, Callable[..., nn.Module]] = {
    # Ours: the smallest of the family that keeps 64 numbers per head and, with the decoder, stays below 2 M.
    "smarties-tiny": partial(Smarties, width=128, depth=4, heads=2),
    "smarties-vit-b": partial(Smarties, width=768, depth=12, heads=12),
    "smarties-vit-l": partial(Smarties, width=1024, depth=24, heads=16),
}
