"""Heads for maps: UPerNet, FCN, linear segmentation, the pyramid of a plain transformer, series of dates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from backend.models.heads import build
from backend.models.heads.fcn import FCN, auxiliary_loss
from backend.models.heads.linear_map import LinearMap
from backend.models.heads.parts import resize
from backend.models.heads.pyramid import PyramidNeck
from backend.models.heads.temporal import SeriesHead, TemporalJoin
from backend.models.heads.upernet import FusedUPerNet, PyramidPooling, UPerNet

CHANNELS = (4, 6, 8, 10)


def maps_of(*sizes: tuple[int, int], channels: tuple[int, ...] = CHANNELS, batch: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    pairs = zip(channels, sizes, strict=True)
    return [torch.randn(batch, count, *size, generator=generator) for count, size in pairs]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_of_the_published_upernet() -> None:
    # By hand for maps of 352, 704, 1408, 2816 channels (skysense-v2.md, 3.1), width 512 and 16 classes.
    channels, width = (352, 704, 1408, 2816), 512

    def convolution(inputs: int, kernel: int) -> int:
        return inputs * width * kernel**2 + 2 * width

    pooling = 4 * convolution(channels[3], 1) + convolution(channels[3] + 4 * width, 3)
    pyramid = sum(convolution(inputs, 1) + convolution(width, 3) for inputs in channels[:3])
    head = build("upernet", device="meta", channels=channels, classes=16)
    assert count(head) == pooling + pyramid + convolution(4 * width, 3) + 16 * width + 16
    assert count(build("upernet", device="meta", channels=channels, classes=16, width=64)) < 4_000_000


@pytest.mark.parametrize("sides", [(7, 5), (12, 6), (2, 3), (1, 1)])
def test_pyramid_pooling_is_the_mean_of_the_cells(sides: tuple[int, int]) -> None:
    rows, columns = sides
    pooling = PyramidPooling(4, 8).eval()
    seen: dict[int, torch.Tensor] = {}
    for scale, branch in zip(pooling.scales, pooling.branches, strict=True):
        branch.register_forward_hook(lambda _, inputs, __, scale=scale: seen.__setitem__(scale, inputs[0]))
    maps = torch.randn(1, 4, rows, columns)
    pooling(maps)
    assert list(seen) == [1, 2, 3, 6]
    for scale, found in seen.items():
        for row, column in np.ndindex(scale, scale):
            top, bottom = row * rows // scale, -(-(row + 1) * rows // scale)
            left, right = column * columns // scale, -(-(column + 1) * columns // scale)
            expected = maps[:, :, top:bottom, left:right].mean(dim=(2, 3))
            torch.testing.assert_close(found[:, :, row, column], expected)


def test_upernet_step_by_step() -> None:
    head = UPerNet(CHANNELS, 3, width=8).eval()
    first, second, third, fourth = maps_of((12, 10), (6, 5), (3, 3), (2, 2))

    def up(maps: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(maps, like.shape[2:], mode="bilinear", align_corners=False)

    level4 = head.pooling(fourth)
    level3 = head.laterals[2](third) + up(level4, third)
    level2 = head.laterals[1](second) + up(level3, second)
    level1 = head.laterals[0](first) + up(level2, first)
    smooth = [output(level) for output, level in zip(head.outputs, (level1, level2, level3), strict=True)]
    joined = head.fusion(torch.cat([up(level, first) for level in (*smooth, level4)], dim=1))
    expected = up(head.classifier.classify(joined), torch.empty(1, 1, 48, 40))
    torch.testing.assert_close(head([first, second, third, fourth], (48, 40)), expected)


def test_upernet_on_maps_of_one_stride_adds_them_as_they_are() -> None:
    head = UPerNet(CHANNELS, 3, width=8).eval()
    maps = maps_of(*[(9, 7)] * 4)
    level4 = head.pooling(maps[3])
    level3 = head.laterals[2](maps[2]) + level4
    level2 = head.laterals[1](maps[1]) + level3
    level1 = head.laterals[0](maps[0]) + level2
    smooth = [output(level) for output, level in zip(head.outputs, (level1, level2, level3), strict=True)]
    expected = head.classifier.classify(head.fusion(torch.cat([*smooth, level4], dim=1)))
    assert torch.equal(head(maps, (9, 7)), expected)


def test_pools_make_a_pyramid_of_maps_of_one_stride() -> None:
    head = UPerNet(CHANNELS, 3, width=8, pools=(1, 2, 4)).eval()
    plain = UPerNet(CHANNELS, 3, width=8).eval()
    plain.load_state_dict(head.state_dict())
    first, second, third, fourth = maps_of(*[(9, 7)] * 4)
    # Cells at the border hold fewer pixels: 9 = 4 + 4 + 1, 7 = 4 + 3.
    rows, columns = ((0, 4), (4, 8), (8, 9)), ((0, 4), (4, 7))
    cells = [[fourth[:, :, a:b, c:d].mean(dim=(2, 3)) for c, d in columns] for a, b in rows]
    pooled = torch.stack([torch.stack(line, dim=2) for line in cells], dim=2)
    halved = functional.avg_pool2d(functional.pad(third, (0, 1, 0, 1), mode="replicate"), 2)
    expected = plain([first, second, halved, pooled], (36, 28))
    torch.testing.assert_close(head([first, second, third, fourth], (36, 28)), expected)


def test_fused_map_is_a_level_at_the_resolution_of_the_last() -> None:
    channels = (*CHANNELS, 12)
    head = FusedUPerNet(channels, 3, width=8).eval()
    plain = UPerNet(channels, 3, width=8).eval()
    plain.load_state_dict(head.state_dict())
    maps = maps_of((12, 10), (6, 5), (3, 3), (2, 2), (5, 5), channels=channels)
    expected = plain([*maps[:4], resize(maps[4], (2, 2))], (24, 20))
    torch.testing.assert_close(head(maps, (24, 20)), expected)
    assert not torch.allclose(head([*maps[:4], -maps[4]], (24, 20)), expected)


def test_auxiliary_head_reads_stage_3_and_is_there_in_training_only() -> None:
    head = build("upernet-auxiliary", seed=0, channels=CHANNELS, classes=3, width=8)
    maps = [level.requires_grad_() for level in maps_of((12, 10), (6, 5), (3, 3), (2, 2))]
    head.train()
    _, auxiliary = head(maps, (24, 20))
    auxiliary.sum().backward()
    assert [level.grad is not None for level in maps] == [False, False, True, False]
    assert auxiliary.shape == (2, 3, 24, 20)
    assert head.auxiliary.convolutions[0][0].weight.shape == (256, 8, 3, 3)
    head.eval()
    assert torch.equal(head(maps, (24, 20)), head.head(maps, (24, 20)))
    assert auxiliary_loss((torch.tensor(3.0), torch.tensor(10.0)), torch.square).item() == pytest.approx(9 + 0.4 * 100)


@pytest.mark.parametrize("convolutions", [1, 2])
def test_fcn_has_as_many_convolutions_as_wanted(convolutions: int) -> None:
    head = FCN((1024,), 20, convolutions=convolutions)
    kernels = [part.weight.shape for part in head.modules() if isinstance(part, nn.Conv2d)]
    assert kernels == [*[(256, 1024, 3, 3), (256, 256, 3, 3)][:convolutions], (20, 256, 1, 1)]


def test_linear_segmentation_head_has_the_published_names() -> None:
    model = nn.Module()
    model.head = LinearMap((768,), 8)  # DFC2020 (smarties.md, 10.2)
    assert {name: tuple(t.shape) for name, t in model.state_dict().items()} == {
        "head.0.weight": (8, 768, 1, 1),
        "head.0.bias": (8,),
    }
    maps = torch.randn(1, 768, 14, 14)
    scores = torch.einsum("kc,bchw->bkhw", model.head[0].weight[:, :, 0, 0], maps)
    expected = functional.interpolate(scores, (96, 96), mode="bilinear", align_corners=False)
    torch.testing.assert_close(model.head([maps], (96, 96)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("side", [1, 7, 14])
def test_pyramid_of_a_plain_transformer(side: int) -> None:
    maps = maps_of(*[(side, side)] * 4, channels=(6,) * 4)
    levels = PyramidNeck((6,) * 4)(maps)
    assert [level.shape[2] for level in levels] == [4 * side, 2 * side, side, -(-side // 2)]
    assert torch.equal(levels[2], maps[2])
    assert torch.equal(levels[3][:, :, 0, 0], maps[3][:, :, :2, :2].amax(dim=(2, 3)))


def test_layer_over_time_starts_as_the_mean_and_learns_weights() -> None:
    join = TemporalJoin(6)
    series = torch.randn(2, 6, 4, 5, 3)
    torch.testing.assert_close(join(series), series.mean(dim=1))
    with torch.no_grad():
        join.weight.copy_(torch.tensor([0.0, 0.0, 2.0, 0.0, 0.0, -1.0]))
        join.bias.fill_(0.5)
    torch.testing.assert_close(join(series), 2 * series[:, 2] - series[:, 5] + 0.5)
    with pytest.raises(ValueError, match="joins 6 dates, not 5"):
        join(series[:, :5])


def test_a_series_of_one_picture_is_that_picture() -> None:
    head = UPerNet(CHANNELS, 3, width=8).eval()
    maps = maps_of((12, 10), (6, 5), (3, 3), (2, 2))
    series = [level[:, None].expand(-1, 3, -1, -1, -1) for level in maps]
    torch.testing.assert_close(SeriesHead(head, 3)(series, (24, 20)), head(maps, (24, 20)), atol=1e-5, rtol=1e-5)


def test_upernet_learns_where_the_bright_half_is() -> None:
    head = build("upernet", seed=0, channels=(2, 2), classes=2, width=8, dropout=0.0).train()
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    fine = torch.randn(4, 2, 8, 8, generator=generator)
    target = torch.zeros(4, 16, 16, dtype=torch.int64)
    for sample, split in enumerate((2, 3, 5, 6)):
        fine[sample, 0, :, :split] += 4.0
        target[sample, :, : 2 * split] = 1
    for _ in range(40):
        optimiser.zero_grad()
        loss = functional.cross_entropy(head([fine, functional.avg_pool2d(fine, 2)], (16, 16)), target)
        loss.backward()
        optimiser.step()
    found = head.eval()([fine, functional.avg_pool2d(fine, 2)], (16, 16)).argmax(dim=1)
    assert float((found == target).float().mean()) > 0.95
