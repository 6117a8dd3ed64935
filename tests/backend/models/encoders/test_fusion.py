"""Fusion of dates and modalities; the paths through the whole model; geo-context in it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from backend.models.encoders.fusion import TemporalFusion, finest_grid, resized, resized_valid
from tests.backend.models.encoders.skysense import small


@pytest.fixture
def fusion() -> TemporalFusion:
    torch.manual_seed(0)
    module = TemporalFusion(16, 32, layers=2, heads=2).eval()
    torch.nn.init.normal_(module.days)
    for block in module.blocks:
        for weight in (block.attn.qkv.weight, block.mlp.fc1.weight):
            torch.nn.init.normal_(weight, std=0.3)
    return module.requires_grad_(False)


def entries(count: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2, count, 16, 3, 4, generator=generator), torch.tensor([[3, 90, 0, 200, 366]] * 2)[:, :count]


def test_the_order_of_dates_does_not_matter(fusion: TemporalFusion) -> None:
    maps, days = entries()
    order = torch.tensor([3, 0, 4, 2, 1])
    fused = fusion(maps, days)
    assert fused.shape == (2, 32, 3, 4)
    torch.testing.assert_close(fusion(maps[:, order], days[:, order]), fused, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(fusion(maps, days[:, order]), fused, atol=1e-3)


def test_masking_equals_leaving_out(fusion: TemporalFusion) -> None:
    maps, days = entries()
    valid = torch.ones(2, 5, 3, 4, dtype=torch.bool)
    valid[:, [1, 3]] = False
    kept = [0, 2, 4]
    maps[:, [1, 3]] = torch.nan  # whatever their values
    torch.testing.assert_close(fusion(maps, days, valid), fusion(maps[:, kept], days[:, kept]))


def test_a_cloud_counts_where_it_is(fusion: TemporalFusion) -> None:
    maps, days = entries()
    valid = torch.ones(2, 5, 3, 4, dtype=torch.bool)
    valid[0, 2, 1, 1] = False
    difference = (fusion(maps, days, valid) - fusion(maps, days)).abs().amax(dim=1)
    assert difference[0, 1, 1] > 1e-4
    difference[0, 1, 1] = 0
    assert difference.max() < 1e-5


def test_positions_do_not_see_each_other(fusion: TemporalFusion) -> None:
    maps, days = entries()
    changed = maps.clone()
    changed[:, :, :, 2, 3] += 1
    difference = (fusion(changed, days) - fusion(maps, days)).abs().amax(dim=(0, 1))
    assert difference[2, 3] > 1e-4
    difference[2, 3] = 0
    assert difference.max() < 1e-5


def test_nothing_valid_is_finite(fusion: TemporalFusion) -> None:
    maps, days = entries()
    fused = fusion(maps, days, torch.zeros(2, 5, 3, 4, dtype=torch.bool))
    assert fused.isfinite().all()
    torch.testing.assert_close(fused, fused[:1, :, :1, :1].expand_as(fused))


def test_codes_of_days(fusion: TemporalFusion) -> None:
    codes = fusion.day_codes(torch.tensor([[0, 1, 365, 366]]))[0]
    assert not codes[0].any()
    assert torch.equal(codes[1:], fusion.days[[0, 364, 364]])


def test_the_code_is_added_before_the_linear_layer(fusion: TemporalFusion) -> None:
    maps, days = entries()
    coded = maps + fusion.days[(days - 1).clamp(0, 364)][..., None, None] * (days > 0)[..., None, None, None]
    undated = fusion(coded, torch.zeros_like(days))
    torch.testing.assert_close(fusion(maps, days), undated, atol=1e-5, rtol=1e-4)


def test_chunks_do_not_show(fusion: TemporalFusion) -> None:
    maps, days = entries()
    valid = torch.rand(2, 5, 3, 4) > 0.3
    whole = fusion(maps, days, valid)
    fusion.chunk = 7
    torch.testing.assert_close(fusion(maps, days, valid), whole)


def test_training_reaches_the_days_that_occur(fusion: TemporalFusion) -> None:
    fusion.requires_grad_(True).train()
    maps, days = entries()
    fusion(maps, days).square().sum().backward()
    gradient = fusion.days.grad
    assert gradient is not None
    assert gradient.abs().sum(dim=1).nonzero()[:, 0].tolist() == [2, 89, 199, 364]


def test_bfloat16_autocast(fusion: TemporalFusion) -> None:
    maps, days = entries()
    exact = fusion(maps, days)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lower = fusion(maps, days)
    assert (lower.float() - exact).abs().mean() < 0.05 * exact.abs().mean()


def test_maps_meet_on_the_finest_grid() -> None:
    coarse, fine = torch.randn(1, 2, 3, 2, 2), torch.randn(1, 1, 3, 4, 4)
    assert finest_grid([coarse, fine]) == (4, 4)
    assert resized(fine, (4, 4)) is fine
    expected = functional.interpolate(coarse[0], scale_factor=2.0, mode="bilinear", align_corners=False)
    torch.testing.assert_close(resized(coarse, (4, 4))[0], expected)


def test_interpolated_from_anything_invalid_is_invalid() -> None:
    valid = torch.tensor([[True, False, True, True]]).reshape(1, 1, 1, 4)
    larger = resized_valid(valid, (1, 8))[0, 0, 0].tolist()
    assert larger == [True, False, False, False, False, True, True, True]
    assert torch.equal(resized_valid(valid, (1, 4)), valid)


def test_one_modality_over_several_dates() -> None:
    network = small()
    images = torch.randn(2, 3, 10, 16, 24)
    with torch.no_grad():
        series = network.series(images, "ms")
        assert series.shape == (2, 3, 256, 4, 6)
        expected = network.features(images[1, 2:3], "ms")[-1]
        torch.testing.assert_close(series[1, 2:3], expected, atol=1e-4, rtol=1e-4)
        assert network.fuse([series], [torch.tensor([[5, 50, 300]] * 2)]).shape == (2, 32, 4, 6)


def test_several_modalities() -> None:
    network = small()
    hr, ms, sar = torch.randn(1, 1, 3, 128, 128), torch.randn(1, 2, 10, 16, 16), torch.randn(1, 3, 2, 8, 8)
    days = [torch.zeros(1, 1).long(), torch.tensor([[10, 40]]), torch.tensor([[11, 40, 80]])]
    with torch.no_grad():
        series = [network.series(hr, "hr"), network.series(ms, "ms"), network.series(sar, "sar")]
        fused = network.fuse(series, days)
        assert fused.shape == (1, 32, 4, 4)
        nothing = torch.zeros(1, 3, 2, 2, dtype=torch.bool)
        without = network.fuse(series, days, [None, None, nothing])
        torch.testing.assert_close(without, network.fuse(series[:2], days[:2]), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(fused, without, atol=1e-4)


def test_geo_context_behind_the_fusion() -> None:
    network = small(context={"regions": 6, "count": 5, "size": 16})
    plain = small()
    plain.load_state_dict({name: t for name, t in network.state_dict().items() if not name.startswith("context.")})
    series = [torch.randn(2, 2, 256, 3, 3)]
    days = [torch.tensor([[10, 40]] * 2)]
    with torch.no_grad():
        fused = network.fuse(series, days, regions=torch.tensor([0, 5]))
        assert fused.shape == (2, 64, 3, 3)
        torch.testing.assert_close(fused[:, :32], plain.fuse(series, days))
    with pytest.raises(ValueError, match="regions"):
        network.fuse(series, days)
    with pytest.raises(ValueError, match="regions"):
        plain.fuse(series, days, regions=torch.tensor([0, 5]))
