"""Pre-norm transformer blocks (Dosovitskiy et al. 2021) over token sequences B x N x C.

Attention goes through scaled_dot_product_attention with 4-D queries, keys and values, which the ONNX exporter wants
and fused kernels need. Softmax is computed by the kernel; LayerNorm and softmax keep float32 sums under autocast.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class DropPath(nn.Module):
    """Leaves a residual branch out for whole samples (stochastic depth, Huang et al. 2016); identity in evaluation.

    Args:
        rate: probability of leaving it out, 0 to below 1.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """B x ... -> B x ...; kept samples are divided by the probability of keeping."""
        if not self.training or self.rate == 0.0:
            return branch
        keep = 1.0 - self.rate
        shape = (branch.shape[0], *(1,) * (branch.ndim - 1))
        return branch * branch.new_empty(shape).bernoulli_(keep).div_(keep)

    def extra_repr(self) -> str:
        """The rate."""
        return f"rate={self.rate}"


class Mlp(nn.Module):
    """Two linear layers with GELU (erf) between: B x N x width -> B x N x width."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """... x width -> ... x width."""
        result: Tensor = self.fc2(functional.gelu(self.fc1(tokens)))
        return result


class Attention(nn.Module):
    """Multi-head self-attention; q, k and v from one linear layer whose output is split as [3, heads, width/heads]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"a width of {width} cannot be split into {heads} heads")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend over all tokens.

        Args:
            tokens: B x N x width.
            mask: bool, broadcastable to B x heads x N x N, False where a key must not be seen; None sees all.

        Returns:
            B x N x width.
        """
        batch, count, width = tokens.shape
        queries, keys, values = split_heads(self.qkv(tokens), self.heads)
        mixed = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        result: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, count, width))
        return result


class CrossAttention(nn.Module):
    """Multi-head attention of queries B x M x width over keys and values B x N x width."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"a width of {width} cannot be split into {heads} heads")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, queries: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend from `queries` B x M x width to `context` B x N x width -> B x M x width; mask as in `Attention`."""
        batch, count, width = queries.shape
        asked = self.query(queries).reshape(batch, count, self.heads, width // self.heads).transpose(1, 2)
        keys, values = (
            self.key_value(context).reshape(batch, -1, 2, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        )
        mixed = functional.scaled_dot_product_attention(asked, keys, values, attn_mask=mask)
        result: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, count, width))
        return result


class TransformerBlock(nn.Module):
    """x <- x + attention(norm1(x)); x <- x + mlp(norm2(x)): B x N x width -> B x N x width.

    Args:
        width: numbers per token.
        heads: attention heads.
        ratio: hidden width of the MLP over `width`.
        eps: of both LayerNorms (ViT: 1e-6).
        drop_path: rate of stochastic depth of both branches.
        mlp: takes the place of the MLP, such as a mixture of experts.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        ratio: float = 4.0,
        eps: float = 1e-6,
        drop_path: float = 0.0,
        mlp: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = mlp if mlp is not None else Mlp(width, int(width * ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """B x N x width -> B x N x width; `mask` as in `Attention`."""
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens), mask))
        result: Tensor = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return result


def split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """B x N x (3 heads d) -> three tensors B x heads x N x d."""
    batch, count, width = qkv.shape
    queries, keys, values = qkv.reshape(batch, count, 3, heads, width // (3 * heads)).permute(2, 0, 3, 1, 4).unbind(0)
    return queries, keys, values


def drop_path_rates(depth: int, last: float) -> list[float]:
    """Rates that rise linearly from 0 in the first block to `last` in the last one."""
    return [last * block / (depth - 1) for block in range(depth)] if depth > 1 else [last] * depth
