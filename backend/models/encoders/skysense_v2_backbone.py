"""The backbone of SkySense V2 (Zhang et al. 2025; skysense-v2.md, 2 to 4): one network for three modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from backend.models.encoders.skysense_v2_stages import HEAD, GlobalStage, WindowStage
from backend.models.layers.experts import Routing
from backend.models.layers.initial import truncated_normal
from backend.models.layers.merging import AdaptiveMerging
from backend.models.layers.tokenizer import Tokenizer
from backend.models.layers.transformer import drop_path_rates

CHANNELS = {"hr": 3, "ms": 10, "sar": 2}
MERGING = {"hr": (True, True, True), "ms": (False, False, False), "sar": (False, False, False)}
GLOBAL_STAGES = (2, 3)

Value = TypeVar("Value")


class Backbone(nn.Module):
    """Tokenizer per modality, two windowed and two global stages, adaptive merging between them: four maps.

    Args:
        width: numbers per token in the first stage, a multiple of 32; each stage doubles it.
        depths: blocks per stage.
        experts: experts in each of the last `expert_blocks` blocks; 0 for plain MLPs everywhere.
        expert_blocks: how many of the last blocks have experts.
        grids: sides of the base grids of the position tables of the global stages.
        prompts: prompts per modality and global stage; 0 for none.
        channels: channels of the image per modality; its keys are the modalities there are.
        merging: per modality, whether the merging before stages 2, 3 and 4 halves the resolution.
        positions: "learned" or "sine-cosine", see `GlobalStage`.
        global_stages: False makes stages 3 and 4 windowed, too; they then have neither prompts nor position tables.
        mask_padding: whether windows ignore the zeros that fill them up; off for weights of SkySense v1.
        drop_path: rate of stochastic depth in the last block, rising linearly from 0 in the first.
    """

    def __init__(
        self,
        width: int,
        depths: Sequence[int],
        experts: int,
        expert_blocks: int,
        grids: Sequence[int],
        prompts: int = 4,
        channels: Mapping[str, int] = CHANNELS,
        merging: Mapping[str, Sequence[bool]] = MERGING,
        positions: str = "learned",
        global_stages: bool = True,
        mask_padding: bool = True,
        drop_path: float = 0.2,
    ) -> None:
        super().__init__()
        if width % HEAD:
            raise ValueError(f"the width is a multiple of {HEAD}, not {width}")
        self.widths = tuple(width * 2**stage for stage in range(4))
        self.merging = {name: tuple(merging[name]) for name in channels}
        self.tokenizers = nn.ModuleDict({name: Tokenizer(count, width) for name, count in channels.items()})
        self.mergings = nn.ModuleList(AdaptiveMerging(narrow) for narrow in self.widths[:3])
        self.stages = nn.ModuleList()
        shares = _per_stage(_expert_counts(sum(depths), experts, expert_blocks), depths)
        rates = _per_stage(drop_path_rates(sum(depths), drop_path), depths)
        for stage, (wide, share, rate) in enumerate(zip(self.widths, shares, rates, strict=True)):
            if global_stages and stage in GLOBAL_STAGES:
                grid = grids[GLOBAL_STAGES.index(stage)]
                self.stages.append(GlobalStage(wide, share, rate, grid, tuple(channels), prompts, positions))
            else:
                self.stages.append(WindowStage(wide, share, rate, mask_padding))
        self.norms = nn.ModuleList(nn.LayerNorm(wide) for wide in self.widths)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities."""
        return tuple(self.merging)

    def reset_parameters(self) -> None:
        """Linear layers of the whole: truncated normal, std 0.02; the rest is set by the parts (skysense-v2.md, 4)."""
        truncated_normal(self)

    def forward(self, image: Tensor, modality: str, routing: list[Routing] | None = None) -> tuple[Tensor, ...]:
        """Maps of all four stages.

        Args:
            image: B x channels x H x W, normalised; any size.
            modality: one of `modalities`.
            routing: takes the statistics of each layer of experts, for `balance_loss`.

        Returns:
            B x C_s x h x w per stage s, C_s = width * 2^s. A token is 4 pixels wide, twice that after each merging
            that halves the resolution; sides are rounded up.

        Raises:
            ValueError: there is no such modality.
        """
        if modality not in self.merging:
            raise ValueError(f"the modality is one of {', '.join(self.modalities)}, not {modality}")
        tokens = self.tokenizers[modality](image)
        maps = []
        for index, (stage, norm) in enumerate(zip(self.stages, self.norms, strict=True)):
            if index:
                tokens = self.mergings[index - 1](tokens, self.merging[modality][index - 1])
            tokens = stage(tokens, modality, routing)
            maps.append(norm(tokens).permute(0, 3, 1, 2))
        return tuple(maps)


class SeparateBackbones(nn.Module):
    """A backbone per modality that shares nothing: what one for all of them is compared with.

    Args:
        channels: channels of the image per modality.
        **arguments: of each `Backbone`.
    """

    def __init__(self, channels: Mapping[str, int] = CHANNELS, **arguments: Any) -> None:
        super().__init__()
        self.backbones = nn.ModuleDict(
            {name: Backbone(channels={name: count}, **arguments) for name, count in channels.items()}
        )

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities."""
        return tuple(self.backbones)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the four maps."""
        first = next(iter(self.backbones.values()))
        assert isinstance(first, Backbone)
        return first.widths

    def forward(self, image: Tensor, modality: str, routing: list[Routing] | None = None) -> tuple[Tensor, ...]:
        """As `Backbone.forward`."""
        if modality not in self.backbones:
            raise ValueError(f"the modality is one of {', '.join(self.modalities)}, not {modality}")
        maps: tuple[Tensor, ...] = self.backbones[modality](image, modality, routing)
        return maps


def image_feature(maps: Sequence[Tensor]) -> Tensor:
    """Mean over the positions of the last map: B x C (skysense-v2.md, 3.7)."""
    return maps[-1].mean(dim=(2, 3))


def extend_channels(state: Mapping[str, Tensor], modality: str = "hr", source: int = 0) -> dict[str, Tensor]:
    """The state of an encoder whose images of one modality have one channel more, such as near infrared after R, G, B.

    Args:
        state: of a `Backbone` or of what holds one.
        modality: whose tokenizer is extended.
        source: channel whose weights the new one starts from; red in R, G, B.

    Raises:
        KeyError: there is no tokenizer of this modality.
    """
    names = [name for name in state if name.endswith(f"tokenizers.{modality}.projection.weight")]
    if not names:
        raise KeyError(modality)
    longer = {name: torch.cat([state[name], state[name][:, source : source + 1]], dim=1) for name in names}
    return {**state, **longer}


def _expert_counts(blocks: int, experts: int, last: int) -> list[int]:
    return [experts if index >= blocks - last else 0 for index in range(blocks)]


def _per_stage(values: Sequence[Value], depths: Sequence[int]) -> list[Sequence[Value]]:
    """Cuts values per block into values per stage."""
    ends = [sum(depths[: stage + 1]) for stage in range(len(depths))]
    return [values[end - depth : end] for end, depth in zip(ends, depths, strict=True)]
