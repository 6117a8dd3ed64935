"""Change between two dates: BIT, siamese difference, semantic change."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from backend.models.heads import build
from backend.models.heads.bit import BIT, SemanticTokenizer
from backend.models.heads.siamese import SemanticChange, SiameseDifference, change_probability

CHANNELS = (4, 6, 8, 10)
SIZES = ((8, 8), (4, 4), (2, 2), (1, 1))


def dates(seed: int = 0, batch: int = 2) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)

    def one() -> list[torch.Tensor]:
        return [
            torch.randn(batch, count, *size, generator=generator) for count, size in zip(CHANNELS, SIZES, strict=True)
        ]

    return one(), one()


def lively(**arguments: Any) -> BIT:
    """BIT whose attention and positions are not as near to nothing as at first."""
    head = build("bit", seed=0, channels=CHANNELS, **arguments)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            if "attn" in name or name == "positions":
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.5)
    assert isinstance(head, BIT)
    return head.eval()


def test_parts_of_the_published_bit() -> None:
    head = BIT((352, 704, 1408, 2816))
    assert (len(head.encoder), len(head.decoder)) == (1, 8)
    assert {part.heads for part in head.modules() if hasattr(part, "heads")} == {8}
    assert head.tokenizer.attention.weight.shape == (4, 32, 1, 1)
    assert BIT((8, 8), ordered=True).positions.shape == (1, 2, 4, 32)
    kernels = [tuple(part.weight.shape) for part in (head.refine[0], head.classify)]
    assert kernels == [(32, 32, 3, 3), (2, 32, 3, 3)]


def test_token_of_even_attention_is_the_mean() -> None:
    tokenizer = SemanticTokenizer(6, 4)
    nn.init.zeros_(tokenizer.attention.weight)
    maps = torch.randn(2, 6, 5, 3)
    expected = maps.mean(dim=(2, 3))[:, None].expand(-1, 4, -1)
    torch.testing.assert_close(tokenizer(maps), expected)


def test_bit_without_a_position_per_date_does_not_mind_the_order() -> None:
    head, (before, after) = lively(ordered=False), dates()
    torch.testing.assert_close(head(before, after, (32, 32)), head(after, before, (32, 32)), atol=1e-4, rtol=1e-4)


def test_bit_with_a_position_per_date_knows_the_order() -> None:
    head, (before, after) = lively(), dates()
    assert not torch.allclose(head(before, after, (32, 32)), head(after, before, (32, 32)), atol=1e-3)


def test_bit_without_a_position_per_date_gives_nothing_where_nothing_differs() -> None:
    head, (before, after) = lively(ordered=False).requires_grad_(False), dates()
    same = head.difference(before, [level.clone() for level in before])
    assert float(same.abs().max()) < 1e-5 < 0.1 < float(head.difference(before, after).max())
    inside = head(before, before, (32, 32))[:, :, 2:-2, 2:-2]  # away from the border, where convolutions see zeros
    torch.testing.assert_close(inside, inside[:, :, :1, :1].expand_as(inside), atol=1e-4, rtol=1e-4)


def test_tokens_of_both_dates_see_each_other_and_pixels_those_of_their_date() -> None:
    head, (before, after) = lively(), dates()
    seen: list[list[torch.Size]] = []
    for block in (head.encoder[0], head.decoder[0]):
        block.register_forward_hook(lambda _, inputs, __: seen.append([tensor.shape for tensor in inputs]))
    head.difference(before, after)
    assert seen == [[(2, 8, 32)], [(2, 64, 32), (2, 4, 32)], [(2, 64, 32), (2, 4, 32)]]


@pytest.mark.parametrize("name", ["bit", "upernet-difference"])
def test_change_heads_learn_what_changed(name: str) -> None:
    more = {"decoder_layers": 2} if name == "bit" else {"width": 8, "dropout": 0.0}
    head = build(name, seed=0, channels=CHANNELS, **more).train()
    before, _ = dates(batch=4)
    after = [level + 0.05 * torch.randn_like(level) for level in before]
    after[0][:, :, :, 4:] += 3.0
    target = torch.zeros(4, 32, 32, dtype=torch.int64)
    target[:, :, 16:] = 1
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-2)
    for _ in range(30):
        optimiser.zero_grad()
        functional.cross_entropy(head(before, after, (32, 32)), target).backward()
        optimiser.step()
    found = head.eval()(before, after, (32, 32)).argmax(dim=1)
    assert float((found == target).float().mean()) > 0.9
    assert float((head(before, before, (32, 32)).argmax(dim=1) == 0).float().mean()) > 0.9


def test_siamese_difference_is_what_the_head_gives_for_the_difference() -> None:
    head, (before, after) = build("upernet", seed=0, channels=CHANNELS, classes=2, width=8).eval(), dates()
    siamese = SiameseDifference(head)
    expected = head([(a - b).abs() for a, b in zip(before, after, strict=True)], (32, 32))
    assert torch.equal(siamese(before, after, (32, 32)), expected)
    assert torch.equal(siamese(after, before, (32, 32)), expected)


def test_semantic_change_is_where_the_classes_differ() -> None:
    head, (before, after) = build("upernet", seed=0, channels=CHANNELS, classes=5, width=8).eval(), dates()
    change = SemanticChange(head)
    result = change(before, after, (32, 32))
    assert torch.equal(result.before, head(before, (32, 32)))
    assert torch.equal(result.after, head(after, (32, 32)))
    assert torch.equal(result.changed, result.before.argmax(dim=1) != result.after.argmax(dim=1))
    assert result.changed.any()
    assert not change(before, before, (32, 32)).changed.any()
    assert set(change.state_dict()) == {f"head.{name}" for name in head.state_dict()}  # shared weights


def test_probability_of_change_by_hand() -> None:
    before = torch.tensor([0.7, 0.2, 0.1]).log().reshape(1, 3, 1, 1)
    after = torch.tensor([0.1, 0.6, 0.3]).log().reshape(1, 3, 1, 1)
    expected = 1 - (0.7 * 0.1 + 0.2 * 0.6 + 0.1 * 0.3)
    assert change_probability(before, after).item() == pytest.approx(expected, abs=1e-6)
    certain = torch.tensor([60.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    assert change_probability(certain, certain).item() == pytest.approx(0.0, abs=1e-6)
    assert change_probability(certain, certain.roll(1, dims=1)).item() == pytest.approx(1.0, abs=1e-6)
    assert change_probability(before.bfloat16(), after.bfloat16()).dtype == torch.float32
