"""BIT, change between two dates through a few tokens (Chen, Qi, Shi 2021; skysense-v2.md, 11.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from backend.models.heads.parts import ConvolutionNorm, resize
from backend.models.layers.transformer import CrossAttention, Mlp, TransformerBlock

# Hidden width of the MLPs over the width, as in the publication.
RATIO = 2.0
# Of linear layers and positions: Dosovitskiy et al. 2021 in timm's form, as in this project's encoders.
STD = 0.02


class FusedLevels(nn.Module):
    """Maps of several strides to one of the finest: 1 x 1 convolutions, bilinear, sum, 3 x 3 convolution.

    Args:
        channels: channels of the maps, fine to coarse.
        width: channels of the result.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.smooth = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """B x C x h x w each -> B x width x h x w of the first."""
        finest = maps[0].shape[2:]
        levels = [resize(lateral(level), finest) for lateral, level in zip(self.laterals, maps, strict=True)]
        result: Tensor = self.smooth(torch.stack(levels).sum(dim=0))
        return result


class SemanticTokenizer(nn.Module):
    """Tokens as means of the pixels, each weighted by its own attention map over all positions.

    Args:
        width: channels of the map, numbers per token.
        tokens: number of tokens.
    """

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.attention = nn.Conv2d(width, tokens, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """B x width x h x w -> B x tokens x width."""
        # Over thousands of positions the sums need float32.
        weights = self.attention(maps).flatten(2).float().softmax(dim=2).to(maps)
        return weights @ maps.flatten(2).transpose(1, 2)


class DecoderBlock(nn.Module):
    """Pixels look at the tokens of their date: pre-norm cross-attention, then an MLP.

    Args:
        width: numbers per pixel and token.
        heads: attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        # One norm for pixels and tokens: both live in the same space, as in the published code.
        self.norm1 = nn.LayerNorm(width)
        self.attn = CrossAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, int(width * RATIO))

    def forward(self, pixels: Tensor, tokens: Tensor) -> Tensor:
        """Pixels B x N x width, tokens B x M x width -> B x N x width."""
        pixels = pixels + self.attn(self.norm1(pixels), self.norm1(tokens))
        result: Tensor = pixels + self.mlp(self.norm2(pixels))
        return result


class BIT(nn.Module):
    """Change between two dates, from the maps that one encoder gives for each.

    Args:
        channels: channels of one date's maps, fine to coarse.
        classes: number of classes; 2 for no change and change.
        width: channels inside.
        tokens: semantic tokens per date.
        heads: attention heads.
        encoder_layers: over the tokens of both dates.
        decoder_layers: from pixels to the tokens of their date.
        ordered: whether the dates have positions of their own, as published. Without, both share them: the order of
            the dates does not matter, and where nothing differs, exactly nothing reaches the classifier.
    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int = 2,
        width: int = 32,
        tokens: int = 4,
        heads: int = 8,
        encoder_layers: int = 1,
        decoder_layers: int = 8,
        ordered: bool = True,
    ) -> None:
        super().__init__()
        self.fuse = FusedLevels(channels, width)
        self.tokenizer = SemanticTokenizer(width, tokens)
        self.positions = nn.Parameter(torch.empty(1, 2 if ordered else 1, tokens, width))
        self.encoder = nn.ModuleList(TransformerBlock(width, heads, RATIO) for _ in range(encoder_layers))
        self.decoder = nn.ModuleList(DecoderBlock(width, heads) for _ in range(decoder_layers))
        self.refine = ConvolutionNorm(width, width, 3)
        self.classify = nn.Conv2d(width, classes, 3, padding=1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Linear layers and positions truncated normal, std 0.02; convolutions as their layers say."""
        nn.init.trunc_normal_(self.positions, std=STD)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=STD)
                nn.init.zeros_(part.bias)

    def forward(self, before: Sequence[Tensor], after: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Classify the change of every pixel.

        Args:
            before, after: maps B x C x h x w of each date, fine to coarse.
            size: H, W of the result; four times the finest map's as published.

        Returns:
            logits B x classes x H x W, float32.
        """
        logits: Tensor = self.classify(self.refine(resize(self.difference(before, after), size)))
        return logits.float()

    def difference(self, before: Sequence[Tensor], after: Sequence[Tensor]) -> Tensor:
        """Maps as in `forward` -> absolute difference of the refined maps, B x width x h x w of the finest."""
        first, second = self.fuse(before), self.fuse(after)
        first_tokens, second_tokens = self._encoded(self.tokenizer(first), self.tokenizer(second))
        return (self._refined(first, first_tokens) - self._refined(second, second_tokens)).abs()

    def _encoded(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of both dates, B x tokens x width each, after they saw each other."""
        tokens = (torch.stack([first, second], dim=1) + self.positions).flatten(1, 2)
        for block in self.encoder:
            tokens = block(tokens)
        return tokens[:, : first.shape[1]], tokens[:, first.shape[1] :]

    def _refined(self, maps: Tensor, tokens: Tensor) -> Tensor:
        pixels = maps.flatten(2).transpose(1, 2)
        for block in self.decoder:
            pixels = block(pixels, tokens)
        return pixels.transpose(1, 2).unflatten(2, maps.shape[2:])
