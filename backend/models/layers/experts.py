"""Mixture of experts with one expert per token (skysense-v2.md, 3.6; Fedus et al. 2021, Switch Transformer)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.models.layers.precision import full_precision
from backend.models.layers.transformer import Mlp, TransformerBlock


class Routing(NamedTuple):
    """How one layer shared out its tokens: float32, one number per expert, of sum 1.

    Args:
        fractions: part of the tokens that went to each expert; without gradient.
        gates: mean gate value of each expert; with gradient.
    """

    fractions: Tensor
    gates: Tensor


class Experts(nn.Module):
    """Each token goes through the one of several MLPs that a linear gate prefers, times the gate's value.

    Tokens are brought into the order of their experts, so each expert computes its own tokens and no others. There is
    no capacity limit: what becomes of a token does not depend on the others. The gate is computed in float32, its
    softmax before the choice; ties go to the lowest index.

    Args:
        width: numbers per token.
        hidden: hidden width of each expert.
        count: number of experts.
    """

    def __init__(self, width: int, hidden: int, count: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, count, bias=False)
        self.experts = nn.ModuleList(Mlp(width, hidden) for _ in range(count))

    def reset_parameters(self) -> None:
        """The gate: truncated normal, std 0.02."""
        nn.init.trunc_normal_(self.gate.weight, std=0.02)

    def forward(self, tokens: Tensor, routing: list[Routing] | None = None) -> Tensor:
        """... x width -> ... x width; with `routing` the layer's statistics are appended to it."""
        flat = tokens.reshape(-1, tokens.shape[-1])
        gates = self.gate_values(flat)
        value, choice = gates.max(dim=1)
        chosen = functional.one_hot(choice, len(self.experts)).T
        if routing is not None:
            routing.append(Routing(chosen.float().mean(dim=1), gates.mean(dim=0)))
        places, counts = grouped(choice, chosen)
        ordered = torch.empty_like(flat).index_copy(0, places, flat)
        groups = ordered.split(counts.tolist())
        results = torch.cat([expert(group) for expert, group in zip(self.experts, groups, strict=True)])
        return (results[places] * value[:, None]).to(results.dtype).reshape(tokens.shape)

    def gate_values(self, tokens: Tensor) -> Tensor:
        """N x width -> N x count, float32, rows of sum 1."""
        with full_precision(tokens.device):
            return functional.linear(tokens.float(), self.gate.weight.float()).softmax(dim=1)


def grouped(choice: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """A counting sort, stable and, unlike a general sort, known to ONNX.

    Args:
        choice: N, the group of each element.
        chosen: groups x N, 1 where an element is of a group, else 0.

    Returns:
        N, the place of each element when these are ordered by group; and the number of elements per group.
    """
    running = chosen.cumsum(dim=1)
    counts = chosen.sum(dim=1)
    before = counts.cumsum(dim=0) - counts
    return (running + (before - 1)[:, None]).gather(0, choice[None])[0], counts


def balance_loss(routing: Sequence[Routing]) -> Tensor:
    """Mean over the layers of count * sum(fractions * gates); 1 when balanced (Fedus et al. 2021, eq. 4).

    Raises:
        ValueError: no layer left statistics.
    """
    if not routing:
        raise ValueError("there is no mixture of experts whose balance could be told")
    return torch.stack([len(layer.gates) * (layer.fractions * layer.gates).sum() for layer in routing]).mean()


def feed_forward(mlp: nn.Module, tokens: Tensor, routing: list[Routing] | None) -> Tensor:
    """`mlp` of the tokens ... x width; `routing` concerns `Experts` only."""
    result: Tensor = mlp(tokens, routing) if isinstance(mlp, Experts) else mlp(tokens)
    return result


class RoutedBlock(TransformerBlock):
    """A transformer block whose MLP may be `Experts`, and which then tells where they got their tokens."""

    def forward(self, tokens: Tensor, mask: Tensor | None = None, routing: list[Routing] | None = None) -> Tensor:
        """B x N x width -> B x N x width; `mask` as in `Attention`, `routing` as in `Experts`."""
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens), mask))
        return tokens + self.drop_path(feed_forward(self.mlp, self.norm2(tokens), routing))


def experts_from_dense(dense: Mapping[str, Tensor], routed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a model with experts from that of the same model without: each expert is a copy of the MLP.

    Args:
        dense: state of the model without experts.
        routed: initial state of the model with experts; gives its names and the values of its gates.

    Raises:
        KeyError: the two models differ in more than their experts.
    """
    return {name: value if ".gate." in name else dense[_dense_name(name)].clone() for name, value in routed.items()}


def _dense_name(name: str) -> str:
    """`a.mlp.experts.3.fc1.weight` -> `a.mlp.fc1.weight`; other names stay."""
    before, found, after = name.partition(".experts.")
    return f"{before}.{after.partition('.')[2]}" if found else name
