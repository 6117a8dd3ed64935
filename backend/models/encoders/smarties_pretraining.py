"""Pre-training of SMARTIES: a masked auto-encoder over the mixed tokens of two sensors (sections 5 to 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.models.encoders.smarties import EPS, SmartiesBackbone, position_rows
from backend.models.encoders.smarties_mixup import common_slots, exchange, repeated, taken_from_first
from backend.models.encoders.smarties_projection import PATCH, PIXELS, patchify
from backend.models.encoders.smarties_spectrum import LAYERS, range_of
from backend.models.layers.transformer import TransformerBlock

MASK_RATIO = 0.75  # section 6.1


class Masking(NamedTuple):
    """Which tokens the encoder sees (section 6.1).

    Attributes:
        kept: B x K positions in the order in which they are seen.
        restore: B x L, place of every token in the shuffled order.
        mask: B x L float32, 0 for kept tokens and 1 for removed ones.
    """

    kept: Tensor
    restore: Tensor
    mask: Tensor


class Stream(NamedTuple):
    """One of the two mixed token sequences.

    Attributes:
        tokens: B x L x width, before positions are added.
        patches: B x L x S x 256, the targets.
        slots: B x L x S, projection index of every band slot.
    """

    tokens: Tensor
    patches: Tensor
    slots: Tensor


class PretrainingOutput(NamedTuple):
    """Losses and intermediate results of a pre-training pass.

    Attributes:
        loss: half the sum of both streams' losses, float32.
        losses: 2, of the streams.
        streams: both mixed sequences.
        masking: the one draw for both.
        latents: encoded streams, each B x (1 + K) x width.
        predictions: each B x L x S x 256.
    """

    loss: Tensor
    losses: Tensor
    streams: tuple[Stream, Stream]
    masking: Masking
    latents: tuple[Tensor, ...]
    predictions: tuple[Tensor, ...]


def masking(noise: Tensor, ratio: float = MASK_RATIO) -> Masking:
    """Keeps the int(L * (1 - ratio)) tokens of the lowest noise B x L, in ascending order of the noise."""
    order = noise.argsort(dim=1, stable=True)
    restore = order.argsort(dim=1)
    count = int(noise.shape[1] * (1 - ratio))
    return Masking(order[:, :count], restore, (restore >= count).float())


def reconstruction_loss(prediction: Tensor, target: Tensor, mask: Tensor, normalise: bool = True) -> Tensor:
    """Mean squared error over the values of a token, averaged over masked tokens; float32 (section 7).

    Args:
        prediction, target: B x L x S x 256.
        mask: B x L, 1 where a token counts.
        normalise: targets are standardised per token over all S * 256 values, with the unbiased variance.
    """
    prediction, target = prediction.float().flatten(2), target.float().flatten(2)
    if normalise:
        variance, mean = torch.var_mean(target, dim=2, keepdim=True, correction=1)
        target = (target - mean) / (variance + 1e-6).sqrt()
    error = (prediction - target).square().mean(dim=2)
    return (error * mask).sum() / (mask.sum() + 1e-6)


class SmartiesPretraining(SmartiesBackbone):
    """Encoder and decoder, side by side under the tensor names of the published files.

    Args:
        width, depth, heads, image_size: of the encoder.
        decoder_width, decoder_depth, decoder_heads: of the decoder.
    """

    def __init__(
        self,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        image_size: int = 224,
        decoder_width: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
    ) -> None:
        super().__init__(width, depth, heads, image_size)
        self.decoder_embed = nn.Linear(width, decoder_width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, decoder_width))
        self.decoder_pos_embed = nn.Parameter(torch.empty(1, 1 + self.grid**2, decoder_width))
        self.decoder_blocks = nn.ModuleList(
            TransformerBlock(decoder_width, decoder_heads, eps=EPS) for _ in range(decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(decoder_width, eps=EPS)
        self.decoder_preds = nn.ModuleList(nn.Linear(decoder_width, PIXELS) for _ in range(LAYERS))
        # Fixed in pre-training (section 6.2).
        self.pos_embed.requires_grad_(False)
        self.decoder_pos_embed.requires_grad_(False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As the encoder, and N(0, 0.02) for the mask token (section 7)."""
        super().reset_parameters()
        nn.init.normal_(self.mask_token, std=0.02)
        with torch.no_grad():
            self.decoder_pos_embed.copy_(position_rows(self.grid, self.grid, self.decoder_pos_embed.shape[2]))

    def forward(
        self,
        images: tuple[Tensor, Tensor],
        keys: tuple[Sequence[str], Sequence[str]],
        noise_mixup: Tensor,
        noise_mask: Tensor,
        mirror: bool = True,
        normalise: bool = True,
        mixup: bool = True,
    ) -> PretrainingOutput:
        """One pass over pairs of images of one place.

        Args:
            images: two of B x C x H x W, normalised; the channels may differ, height and width are `image_size`.
            keys: range keys of both in channel order.
            noise_mixup, noise_mask: B x L in [0, 1), drawn in this order.
            mirror: the published mixup; False as in the released code (section 5).
            normalise: `norm_pix_loss`, see `reconstruction_loss`.
            mixup: False leaves either stream its own image, for comparison.

        Raises:
            ValueError: a range has no output layer, or an image has another size.
        """
        drawn = masking(noise_mask)
        taken = taken_from_first(noise_mixup) if mixup else torch.ones_like(noise_mixup, dtype=torch.bool)
        layers = sorted({*_output_layers(keys[0]), *_output_layers(keys[1])})
        streams = self.streams(images, keys, taken, mirror)
        latents, predictions, losses = [], [], []
        for stream in streams:
            latents.append(self.encode_kept(stream.tokens, drawn.kept))
            predictions.append(self.decode(latents[-1], drawn.restore, stream.slots, layers))
            losses.append(reconstruction_loss(predictions[-1], stream.patches, drawn.mask, normalise))
        both = torch.stack(losses)
        return PretrainingOutput(both.mean(), both, streams, drawn, tuple(latents), tuple(predictions))

    def streams(
        self,
        images: tuple[Tensor, Tensor],
        keys: tuple[Sequence[str], Sequence[str]],
        taken: Tensor,
        mirror: bool,
    ) -> tuple[Stream, Stream]:
        """Both mixed token sequences; arguments as `forward`, `taken` from `taken_from_first` (section 5)."""
        side = self.grid * PATCH
        if any(image.shape[2:] != (side, side) for image in images):
            raise ValueError(f"pre-training takes images of {side} x {side} pixels")
        slots = common_slots(len(keys[0]), len(keys[1]))
        tokens, patches, index = [], [], []
        for image, own in zip(images, keys, strict=True):
            # Repeating the bands leaves the tokens as they are (section 4), so they come from the bands themselves.
            tokens.append(self.spectrum_projection(image, self.bands(own)))
            patches.append(patchify(image).repeat(1, 1, slots // len(own), 1))
            row = torch.tensor(repeated(_output_layers(own), slots), device=image.device)
            index.append(row.expand(*taken.shape, -1))
        pairs = [exchange(first, second, taken, mirror) for first, second in (tokens, patches, index)]
        first, second = (Stream(*(pair[stream] for pair in pairs)) for stream in (0, 1))
        return first, second

    def encode_kept(self, tokens: Tensor, kept: Tensor) -> Tensor:
        """B x L x width without positions, B x K positions -> B x (1 + K) x width behind the final norm."""
        table = self.position_table(self.grid, self.grid)
        seen = _gathered(tokens + table[:, 1:], kept)
        sequence = self.with_class(seen, table)
        for block in self.blocks:
            sequence = block(sequence)
        result: Tensor = self.norm(sequence)
        return result

    def decode(self, latent: Tensor, restore: Tensor, index: Tensor, layers: Sequence[int] | None = None) -> Tensor:
        """Pixel values of every band slot (section 7).

        Args:
            latent: B x (1 + K) x width.
            restore: B x L, see `Masking`.
            index: B x L x S, output layer of every slot.
            layers: the layers that occur in `index`, rising; None for all.

        Returns:
            B x L x S x 256.
        """
        layers = list(range(LAYERS)) if layers is None else list(layers)
        seen = self.decoder_embed(latent)
        hidden = self.mask_token.to(seen.dtype).expand(seen.shape[0], restore.shape[1] + 1 - seen.shape[1], -1)
        patches = _gathered(torch.cat([seen[:, 1:], hidden], dim=1), restore)
        sequence = torch.cat([seen[:, :1], patches], dim=1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            sequence = block(sequence)
        tokens = self.decoder_norm(sequence)[:, 1:]
        return self._pixels(tokens, index, layers)

    def _pixels(self, tokens: Tensor, index: Tensor, layers: list[int]) -> Tensor:
        """Each layer once over all tokens, then each slot's own: B x L x width -> B x L x S x 256."""
        outputs = [part for part in self.decoder_preds if isinstance(part, nn.Linear)]
        weight = torch.cat([outputs[layer].weight for layer in layers])
        bias = torch.cat([outputs[layer].bias for layer in layers])
        values = functional.linear(tokens, weight, bias).unflatten(2, (len(layers), PIXELS))
        places = torch.zeros(LAYERS, dtype=torch.long, device=index.device)
        places[torch.tensor(layers, device=index.device)] = torch.arange(len(layers), device=index.device)
        slots = places[index.long()][..., None].expand(-1, -1, -1, PIXELS)
        return values.gather(2, slots)


def _gathered(tokens: Tensor, positions: Tensor) -> Tensor:
    """B x L x width, B x K positions -> B x K x width."""
    return tokens.gather(1, positions[..., None].expand(-1, -1, tokens.shape[2]))


def _output_layers(keys: Sequence[str]) -> list[int]:
    layers = [range_of(key).index for key in keys]
    without = [key for key, layer in zip(keys, layers, strict=True) if not 0 <= layer < LAYERS]
    if without:
        raise ValueError(f"{', '.join(without)} has no output layer and cannot be reconstructed")
    return layers
