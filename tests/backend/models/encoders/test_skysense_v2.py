"""SkySense V2 as skysense-v2.md describes it: sizes, shapes, modalities, prompts, experts, switches."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from backend.models import encoders
from backend.models.encoders.skysense_v2 import MEMBERS
from backend.models.encoders.skysense_v2_backbone import Backbone, extend_channels, image_feature
from backend.models.encoders.skysense_v2_stages import GlobalStage, WindowStage
from backend.models.layers.experts import Experts, Routing, balance_loss, experts_from_dense
from backend.models.layers.swin import SwinBlock
from backend.protocol.errors import PackageError
from tests.backend.models.encoders.skysense import CHANNELS, count, small


def image(modality: str, *size: int, batch: int = 1, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, CHANNELS[modality], *size, generator=generator)


@pytest.mark.parametrize(
    ("member", "backbone", "fusion"),
    [
        ("tiny", 4_470_246, 523_008),
        ("small", 29_999_308, 3_477_504),
        ("base", 91_951_410, 19_588_864),
        ("full", 1_996_190_818, 306_222_848),
        ("full-dense", 663_490_658, 306_222_848),
    ],
)
def test_members_have_the_specified_size(member: str, backbone: int, fusion: int) -> None:
    network = encoders.build(f"skysense-v2-{member}", device="meta")
    assert (count(network.backbone), count(network.fusion)) == (backbone, fusion)
    assert network.context is None


@pytest.mark.parametrize(("member", "size"), [("tiny", 2_496_870), ("small", 14_241_484), ("base", 49_425_714)])
def test_members_without_experts(member: str, size: int) -> None:
    assert count(encoders.build(f"skysense-v2-{member}", device="meta", experts=0).backbone) == size


def test_parts_have_the_specified_size() -> None:
    backbone = encoders.build("skysense-v2-full-dense", device="meta").backbone
    assert [count(backbone.tokenizers[name]) for name in CHANNELS] == [17_952, 57_376, 12_320]
    assert [count(stage.blocks) for stage in backbone.stages] == [2_996_502, 11_937_324, 428_541_696, 190_389_760]
    assert [count(stage.blocks[0]) for stage in backbone.stages] == [1_498_251, 5_968_662, 23_807_872, 95_194_880]
    assert [count(merging) for merging in backbone.mergings] == [992_640, 3_967_744, 15_865_344]
    assert sum(count(stage.prompts) for stage in backbone.stages[2:]) == 50_688
    assert count(backbone.norms) == 10_560
    assert sum(count(stage.positions) for stage in backbone.stages[2:]) == 8_650_752


@pytest.mark.parametrize(
    ("modality", "size", "grids"),
    [
        ("hr", (64, 128), [(16, 32), (8, 16), (4, 8), (2, 4)]),
        ("hr", (200, 200), [(50, 50), (25, 25), (13, 13), (7, 7)]),
        ("hr", (37, 5), [(10, 2), (5, 1), (3, 1), (2, 1)]),
        ("ms", (64, 64), [(16, 16)] * 4),
        ("ms", (9, 18), [(3, 5)] * 4),
        ("sar", (64, 64), [(16, 16)] * 4),
        ("sar", (1, 1), [(1, 1)] * 4),
    ],
)
def test_shapes_and_strides(modality: str, size: tuple[int, int], grids: list[tuple[int, int]]) -> None:
    with torch.no_grad():
        maps = small().features(image(modality, *size, batch=2), modality)
    widths = (32, 64, 128, 256)
    assert [tuple(values.shape) for values in maps] == [(2, w, *grid) for w, grid in zip(widths, grids, strict=True)]
    assert all(values.isfinite().all() for values in maps)
    assert image_feature(maps).shape == (2, 256)


def test_a_named_member_starts_complete_and_runs() -> None:
    network = encoders.build("skysense-v2-tiny", seed=1).eval()
    with torch.no_grad():
        maps = network(image("ms", 16, 16), "ms")
    assert all(values.isfinite().all() for values in maps)
    for block in network.modules():
        if isinstance(block, SwinBlock):
            assert not block.norm1.weight.any() and not block.norm2.weight.any()
    assert network.backbone.stages[2].blocks[0].mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_drop_path_rises_to_its_end() -> None:
    backbone = encoders.build("skysense-v2-tiny", device="meta").backbone
    rates = [block.drop_path.rate for stage in backbone.stages for block in stage.blocks]
    assert rates == pytest.approx([0.2 * index / 10 for index in range(11)])


def test_only_the_last_blocks_have_experts() -> None:
    backbone = encoders.build("skysense-v2-full", device="meta").backbone
    layers = [block.mlp for stage in backbone.stages for block in stage.blocks]
    assert [len(mlp.experts) if isinstance(mlp, Experts) else 0 for mlp in layers] == [0] * 18 + [8] * 6


def test_modalities_share_all_but_tokenizers_and_prompts() -> None:
    backbone = small().backbone
    backbone.train()
    names = {}
    for modality in CHANNELS:
        backbone.zero_grad()
        sum(values.square().mean() for values in backbone(image(modality, 32, 32), modality)).backward()
        names[modality] = {name for name, p in backbone.named_parameters() if p.grad is not None}
    for modality, touched in names.items():
        own = {name for name in touched if f"tokenizers.{modality}." in name or f"prompts.{modality}" in name}
        assert len(own) == 4 + 2
        assert touched - own == names["hr"] - {n for n in names["hr"] if "tokenizers.hr." in n or "prompts.hr" in n}
        assert "mergings.2.reduction.weight" in touched


def test_prompts_take_part_and_leave() -> None:
    network = small()
    stage = network.backbone.stages[2]
    seen: list[int] = []
    stage.blocks[0].norm1.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape[1]))
    with torch.no_grad():
        before = network(image("ms", 24, 16), "ms")
        assert seen == [6 * 4 + 4]
        prompts = stage.prompts
        prompts["ms"], prompts["sar"] = prompts["sar"], prompts["ms"]
        after = network(image("ms", 24, 16), "ms")
    assert torch.equal(before[1], after[1])
    assert not torch.allclose(before[2], after[2])
    assert before[2].shape == after[2].shape == (1, 128, 6, 4)


def test_stages_see_the_whole_image() -> None:
    network = small()
    first, second = image("ms", 64, 64), image("ms", 64, 64)
    second[..., -1, -1] += 5.0
    with torch.no_grad():
        pairs = zip(network(first, "ms"), network(second, "ms"), strict=True)
        difference = [(one - other).abs().amax(dim=1)[0] for one, other in pairs]
    assert difference[0][0, 0] == 0  # one block without shift: its own window only
    assert (difference[2] > 0).all()


def test_an_image_does_not_depend_on_its_batch() -> None:
    network = small()
    with torch.no_grad():
        together = network(image("hr", 40, 52, batch=3), "hr")
        alone = network(image("hr", 40, 52, batch=3)[1:2], "hr")
    for whole, one in zip(together, alone, strict=True):
        torch.testing.assert_close(whole[1:2], one, atol=1e-4, rtol=1e-4)


def test_routing_is_collected_per_layer() -> None:
    network = small()
    routing: list[Routing] = []
    network(image("ms", 16, 16), "ms", routing)
    assert [layer.gates.shape for layer in routing] == [(4,), (4,)]
    loss = balance_loss(routing)
    assert 0.9 < loss.item() < 4.0
    loss.backward()
    gates = [p.grad for name, p in network.named_parameters() if "gate" in name]
    assert len(gates) == 2 and all(grad is not None and grad.abs().sum() > 0 for grad in gates)


def test_forward_and_backward_in_training() -> None:
    network = small().train()
    maps = network(image("hr", 48, 48, batch=2), "hr")
    sum(values.square().mean() for values in maps).backward()
    for name, parameter in network.backbone.named_parameters():
        if not any(f"{part}.{other}" in name for part in ("tokenizers", "prompts") for other in ("ms", "sar")):
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_bfloat16_autocast() -> None:
    network = small()
    with torch.no_grad():
        exact = network(image("hr", 64, 64), "hr")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            lower = network(image("hr", 64, 64), "hr")
    for one, other in zip(exact, lower, strict=True):
        assert (one - other.float()).abs().mean() < 0.1 * one.abs().mean()


def test_merging_is_a_setting_per_modality_and_module() -> None:
    merging = {"hr": (True, True, True), "ms": (False, False, True), "sar": (False, True, True)}
    network = small(merging=merging)
    with torch.no_grad():
        assert [values.shape[-1] for values in network(image("ms", 32, 32), "ms")] == [8, 8, 8, 4]
        assert [values.shape[-1] for values in network(image("sar", 32, 32), "sar")] == [8, 8, 4, 2]


def test_near_infrared_starts_as_red() -> None:
    network = small()
    wider = small(channels={"hr": 4, "ms": 10, "sar": 2})
    wider.load_state_dict(extend_channels(network.state_dict()))
    red_twice, colours = image("hr", 16, 16), image("hr", 16, 16)
    colours[:, 0] *= 2
    with torch.no_grad():
        for one, other in zip(
            wider(torch.cat([red_twice, red_twice[:, :1]], dim=1), "hr"), network(colours, "hr"), strict=True
        ):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    with pytest.raises(KeyError):
        extend_channels(network.state_dict(), "thermal")


def test_windowed_stages_only() -> None:
    network = small(global_stages=False)
    assert all(isinstance(stage, WindowStage) for stage in network.backbone.stages)
    assert not [name for name, _ in network.backbone.named_parameters() if "prompts" in name or "positions" in name]
    routing: list[Routing] = []
    with torch.no_grad():
        maps = network(image("hr", 32, 32), "hr", routing)
    assert [tuple(values.shape[2:]) for values in maps] == [(8, 8), (4, 4), (2, 2), (1, 1)]
    assert len(routing) == 2


def test_separate_backbones_share_nothing() -> None:
    network = small(shared=False)
    with torch.no_grad():
        for modality, channels in CHANNELS.items():
            shared = small(channels={modality: channels}).backbone
            shared.load_state_dict(network.backbone.backbones[modality].state_dict())
            expected = shared(image(modality, 16, 16), modality)
            for one, other in zip(network(image(modality, 16, 16), modality), expected, strict=True):
                assert torch.equal(one, other)
    assert count(network.backbone) == sum(count(small(channels={m: c}).backbone) for m, c in CHANNELS.items())


def test_without_prompts_or_learned_positions() -> None:
    network = small(prompts=0, positions="sine-cosine")
    assert all(not count(s.prompts) + count(s.positions) for s in network.modules() if isinstance(s, GlobalStage))
    with torch.no_grad():
        assert network(image("sar", 16, 16), "sar")[-1].shape == (1, 256, 4, 4)


def test_a_dense_model_becomes_one_with_experts() -> None:
    dense, routed = small(experts=0), small(seed=5)
    routed.load_state_dict(experts_from_dense(dense.state_dict(), routed.state_dict()))
    layers = [layer for layer in routed.modules() if isinstance(layer, Experts)]
    assert len(layers) == 2
    original = dense.backbone.stages[3].blocks[0].mlp
    tokens = torch.randn(3, 256)
    with torch.no_grad():
        for one, other in zip(routed(image("ms", 16, 16), "ms")[:2], dense(image("ms", 16, 16), "ms"), strict=False):
            assert torch.equal(one, other)
        gate = layers[-1].gate_values(tokens).max(dim=1).values
        torch.testing.assert_close(layers[-1](tokens), gate[:, None] * original(tokens))


def test_what_cannot_be_built_or_asked() -> None:
    with pytest.raises(PackageError, match="multiple of 32"):
        encoders.build("skysense-v2-tiny", device="meta", width=40)
    with pytest.raises(PackageError, match="learned or sine-cosine"):
        encoders.build("skysense-v2-tiny", device="meta", positions="rotary")
    with pytest.raises(ValueError, match="hr, ms, sar"):
        small()(image("hr", 8, 8), "thermal")
    with pytest.raises(ValueError, match="hr, ms, sar"):
        small(shared=False)(image("hr", 8, 8), "thermal")


def test_every_member_is_listed() -> None:
    assert [name.removeprefix("skysense-v2-") for name in MEMBERS] == ["tiny", "small", "base", "full", "full-dense"]
    assert isinstance(encoders.build("skysense-v2-tiny", device="meta").backbone, Backbone)
    assert isinstance(small(), nn.Module)
