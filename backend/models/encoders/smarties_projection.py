"""From bands to tokens: every single-band patch goes through its range's linear layer, then the bands are averaged.

Token n is 12 / C times the sum over the C bands of W_k P + b_k (smarties.md, section 4). Sums and linear maps change
places freely, so a set of bands is one matrix product over C * 256 values.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.models.encoders.smarties_spectrum import (
    INDICES,
    LAYERS,
    Blend,
    blend,
    index_blends,
    keys_of,
    mixing_matrix,
    ranges,
)
from backend.protocol.errors import ParameterError

PATCH = 16  # side of a patch in pixels (section 1)
PIXELS = PATCH * PATCH
SCALE = 12.0  # the largest number of bands met in pre-training (section 4)

Bands = Sequence[Blend] | Tensor


def patchify(image: Tensor) -> Tensor:
    """B x C x H x W -> B x L x C x 256: patches row by row, the pixels of each row by row (section 4).

    Raises:
        ValueError: height or width is no multiple of 16.
    """
    batch, channels, height, width = image.shape
    if height % PATCH or width % PATCH:
        raise ValueError(f"an image of {height} x {width} pixels has no whole number of {PATCH} x {PATCH} patches")
    rows, columns = height // PATCH, width // PATCH
    parts = image.reshape(batch, channels, rows, PATCH, columns, PATCH).permute(0, 2, 4, 1, 3, 5)
    return parts.reshape(batch, rows * columns, channels, PIXELS)


class RangeProjection(nn.Module):
    """The linear layer of one spectral range: ... x 256 -> ... x width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(PIXELS, width)

    def forward(self, patches: Tensor) -> Tensor:
        """... x 256 -> ... x width."""
        result: Tensor = self.proj(patches)
        return result


class SpectrumProjection(nn.Module):
    """One linear layer per spectral range, and one per band that was learned later.

    Args:
        width: numbers per token.
        learned: keys of ranges with a layer of their own beyond the 17 of the release; they have the projection
            indices 19, 20, … in this order.
    """

    def __init__(self, width: int, learned: Sequence[str] = ()) -> None:
        super().__init__()
        self.width = width
        self.spectrum_embeds = nn.ModuleList(RangeProjection(width) for _ in range(LAYERS))
        self.learned = nn.ModuleDict()
        for key in learned:
            self.learned[self._new_key(key)] = RangeProjection(width)

    @property
    def layers(self) -> list[nn.Linear]:
        """The linear layers, released ones first, then the learned ones."""
        parts = [*self.spectrum_embeds, *self.learned.values()]
        return [part.proj for part in parts if isinstance(part, RangeProjection)]

    def blends(self, keys: Sequence[str], mode: str = "released") -> tuple[Blend, ...]:
        """What `forward` takes as bands, for range keys in channel order; learned keys count.

        Raises:
            ParameterError: a key is unknown or has no projection, or the mode is unknown.
        """
        own = {key: LAYERS + place for place, key in enumerate(self.learned)}
        return tuple(((own[key], 1.0),) if key in own else blend(key, mode) for key in keys)

    def index_table(self, mode: str = "released") -> tuple[Blend, ...]:
        """The blend of every projection index, the learned ones behind the released ones."""
        return (*index_blends(mode), *self.blends(list(self.learned), mode))

    def indices(self, keys: Sequence[str]) -> tuple[int, ...]:
        """Projection index per range key, for indices per patch.

        Raises:
            ParameterError: a key is unknown or has no projection.
        """
        own = {key: INDICES + place for place, key in enumerate(self.learned)}
        self.blends(keys)  # refuses what has no projection
        return tuple(own[key] if key in own else ranges()[key].index for key in keys)

    def learn(self, key: str, start: Blend) -> None:
        """Adds a layer for a new range; it starts as the blend `start` of the layers there are (section 9, a).

        Raises:
            ParameterError: the key is taken, or cannot name a tensor.
        """
        layers = self.layers
        example = layers[0].weight
        fresh = RangeProjection(self.width).to(device=example.device, dtype=example.dtype)
        with torch.no_grad():
            for name in ("weight", "bias"):
                parts = [weight * getattr(layers[layer], name) for layer, weight in start]
                getattr(fresh.proj, name).copy_(torch.stack(parts).sum(0))
        self.learned[self._new_key(key)] = fresh

    def forward(self, image: Tensor, bands: Bands, present: Tensor | None = None) -> Tensor:
        """Tokens of an image whose channels mean the same in every patch.

        Args:
            image: B x C x H x W, normalised.
            bands: a blend per channel, see `blends`, or a float tensor C x layers that mixes the layers per channel.
            present: B x C, 1 where a band is there and 0 where it is missing: the mean is over those present, what
                stands in a missing channel has no influence. With none present the tokens are 0.

        Returns:
            B x L x width.

        Raises:
            ValueError: the bands do not fit the image.
        """
        weight, bias = self._mixed(bands) if isinstance(bands, Tensor) else self._blended(bands)
        if bias.shape[0] != image.shape[1]:
            raise ValueError(f"an image of {image.shape[1]} channels does not fit {bias.shape[0]} bands")
        patches = patchify(image)
        if present is None:
            scale = SCALE / bias.shape[0]
            return functional.linear(patches.flatten(2), weight.flatten(1) * scale, bias.sum(0) * scale)
        there = present > 0
        patches = torch.where(there[:, None, :, None], patches, 0)
        count = there.sum(1).clamp(min=1)
        summed = functional.linear(patches.flatten(2), weight.flatten(1)) + (there.to(bias) @ bias)[:, None]
        return summed * (SCALE / count.to(bias))[:, None, None]

    def by_patch(self, patches: Tensor, index: Tensor, mode: str = "released") -> Tensor:
        """Tokens where every patch may hold other bands (sections 5 and 8.4).

        Args:
            patches: B x L x C x 256, see `patchify`.
            index: B x L x C integers, projection index of every slot.
            mode: how interpolated ranges are weighted.

        Returns:
            B x L x width.

        Raises:
            ParameterError: an index has no projection.
        """
        self._check_indices(index)
        layers = self.layers
        shares = mixing_matrix(self.index_table(mode), len(layers)).to(patches)[index.long()]
        # The slots that meet the same layer are added first: B x L x layers x 256.
        gathered = torch.einsum("blck,blcp->blkp", shares, patches)
        weight = torch.cat([layer.weight for layer in layers], dim=1)
        bias = torch.stack([layer.bias for layer in layers])
        tokens = functional.linear(gathered.flatten(2), weight) + shares.sum(2) @ bias
        return tokens * (SCALE / index.shape[2])

    def _blended(self, bands: Sequence[Blend]) -> tuple[Tensor, Tensor]:
        """Weights width x C x 256 and biases C x width; layers that no band uses get no gradient."""
        layers = self.layers
        weights, biases = [], []
        for pairs in bands:
            weights.append(_sum([(layers[layer].weight, share) for layer, share in pairs]))
            biases.append(_sum([(layers[layer].bias, share) for layer, share in pairs]))
        return torch.stack(weights, dim=1), torch.stack(biases)

    def _mixed(self, mixing: Tensor) -> tuple[Tensor, Tensor]:
        """Weights width x C x 256 and biases C x width from a matrix C x layers."""
        layers = self.layers
        if mixing.shape[1] != len(layers):
            raise ValueError(f"a mixing matrix of {mixing.shape[1]} columns does not fit {len(layers)} layers")
        weight = torch.stack([layer.weight for layer in layers])
        bias = torch.stack([layer.bias for layer in layers])
        return torch.einsum("ck,kdp->dcp", mixing.to(weight), weight), mixing.to(bias) @ bias

    def _check_indices(self, index: Tensor) -> None:
        if torch.compiler.is_compiling():
            return  # a graph cannot look at values; whoever traces it has checked its example
        allowed = INDICES + len(self.learned)
        outside = index[(index < 0) | (index >= allowed)]
        for key in keys_of(sorted(set(outside.tolist()))):
            blend(key)  # -1 names a band, and this refuses it; any other index was refused by `keys_of`

    def _new_key(self, key: str) -> str:
        if key in ranges() or key in self.learned:
            raise ParameterError(f"the spectral range {key!r} exists already", "", "choose another name")
        if not key.isidentifier() or hasattr(nn.ModuleDict, key):
            raise ParameterError(
                f"{key!r} cannot name a spectral range", "it becomes part of a tensor's name", "use letters, digits, _"
            )
        return key


def _sum(parts: list[tuple[Tensor, float]]) -> Tensor:
    tensors = [tensor if weight == 1.0 else tensor * weight for tensor, weight in parts]
    return tensors[0] if len(tensors) == 1 else torch.stack(tensors).sum(0)
