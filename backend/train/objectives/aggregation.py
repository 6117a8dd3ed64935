"""Query-based semantic aggregation: learned queries gather what sets of crops have in common (skysense-v2.md, 10.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from backend.models.layers.initial import truncated_normal
from backend.models.layers.transformer import CrossAttention, Mlp, TransformerBlock

HEADS = 16


class QueryDecoder(nn.Module):
    """One decoder layer: the queries see each other, then the tokens of a set of crops, then an MLP; all pre-norm.

    Args:
        width: numbers per token.
        queries: how many.
        heads: attention heads.
    """

    def __init__(self, width: int, queries: int = 16, heads: int = HEADS) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.empty(queries, width))
        self.between = TransformerBlock(width, heads)
        self.norm_queries, self.norm_tokens = nn.LayerNorm(width), nn.LayerNorm(width)
        self.across = CrossAttention(width, heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Truncated normal, std 0.02."""
        truncated_normal(self)
        nn.init.trunc_normal_(self.queries, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens of all positions of a set of crops, B x N x width -> one vector per query, B x queries x width."""
        found = self.between(self.queries[None].expand(len(tokens), -1, -1))
        found = found + self.across(self.norm_queries(found), self.norm_tokens(tokens))
        result: Tensor = found + self.mlp(self.norm_mlp(found))
        return result
