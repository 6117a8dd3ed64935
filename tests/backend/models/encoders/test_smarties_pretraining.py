"""Mixup, masking, decoder and loss of SMARTIES, beyond the reference values."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from backend.models.encoders.smarties_mixup import common_slots, draw, exchange, repeated, taken_from_first
from backend.models.encoders.smarties_pretraining import (
    PretrainingOutput,
    SmartiesPretraining,
    masking,
    reconstruction_loss,
)
from backend.models.encoders.smarties_projection import patchify
from backend.models.encoders.smarties_spectrum import band_sets
from backend.models.load import initialise, load_weights, save_weights

S2, S1, RGB = (band_sets()[name] for name in ("S2", "S1", "RGB"))
TINY = {"width": 64, "depth": 1, "heads": 1, "image_size": 64}
DECODER = {"decoder_width": 32, "decoder_depth": 1, "decoder_heads": 1}


def network() -> SmartiesPretraining:
    with torch.device("meta"):
        module = SmartiesPretraining(**TINY, **DECODER)
    return initialise(module, seed=0)


@pytest.fixture(scope="module")
def model() -> SmartiesPretraining:
    return network()


def pair(bands: tuple[int, int] = (3, 12)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(2, count, 64, 64, generator=generator) for count in bands)
    return first, second


def run(model: SmartiesPretraining, **changes: bool) -> PretrainingOutput:
    return model(pair(), (RGB, S2), draw(2, 16, seed=1), draw(2, 16, seed=2), **changes)


@pytest.mark.parametrize(
    ("sizes", "tensors", "numbers"),
    [
        ({"width": 768, "depth": 12, "heads": 12}, 318, 116_511_232),
        ({"width": 1024, "depth": 24, "heads": 16}, 462, 335_066_880),
    ],
)
def test_published_sizes(sizes: dict[str, int], tensors: int, numbers: int) -> None:
    with torch.device("meta"):
        state = SmartiesPretraining(**sizes).state_dict()
    assert (len(state), sum(t.numel() for t in state.values())) == (tensors, numbers)
    assert sum(t.numel() for name, t in state.items() if name.startswith("decoder_preds.")) == 2_232_576


def test_the_tiny_member_stays_small_with_its_decoder() -> None:
    with torch.device("meta"):
        tiny = SmartiesPretraining(128, 4, 2, decoder_width=64, decoder_depth=2, decoder_heads=2)
    assert sum(t.numel() for t in tiny.state_dict().values()) <= 2_000_000


def test_initial_values(model: SmartiesPretraining) -> None:
    # Section 7: Xavier-uniform, so bounded by sqrt(6 / (fan in + fan out)); zero biases; fixed tables do not train.
    for name, tensor in model.state_dict().items():
        if name.endswith("bias"):
            assert not tensor.any(), name
    weight = model.decoder_preds[3].weight.detach()
    bound = (6 / (32 + 256)) ** 0.5
    assert 0.95 * bound < float(weight.abs().max()) <= bound
    assert 0.01 < float(model.mask_token.detach().std()) < 0.03
    fixed = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert fixed == ["pos_embed", "decoder_pos_embed"]


@given(st.integers(1, 4), st.integers(2, 40), st.integers(0, 1000))
def test_draws(batch: int, patches: int, seed: int) -> None:
    noise = draw(batch, patches, seed)
    assert torch.equal(noise, draw(batch, patches, seed))
    taken = taken_from_first(noise)
    assert taken.sum(1).tolist() == [patches // 2] * batch
    drawn = masking(noise)
    kept = int(patches * 0.25)
    assert drawn.kept.shape == (batch, kept)
    assert torch.equal(noise.gather(1, drawn.kept), noise.sort(1).values[:, :kept])
    assert (drawn.mask == 0).sum(1).tolist() == [kept] * batch
    assert not drawn.mask.gather(1, drawn.kept).any()


def test_both_kinds_of_mixup() -> None:
    first, second = torch.zeros(1, 4, 3), torch.ones(1, 4, 3)
    taken = torch.tensor([[True, False, False, True]])
    one, two = exchange(first, second, taken, mirror=True)
    assert one[0, :, 0].tolist() == [0, 1, 1, 0]
    assert torch.equal(two, 1 - one)
    released = exchange(first, second, taken, mirror=False)
    assert torch.equal(released[0], one) and torch.equal(released[1], second)


def test_slots() -> None:
    assert [common_slots(*counts) for counts in ((3, 12), (12, 2), (2, 10), (5, 5))] == [12, 12, 10, 5]
    assert repeated([1, 2], 6) == [1, 2, 1, 2, 1, 2]
    with pytest.raises(ValueError, match="5 bands"):
        repeated([1, 2, 3, 4, 5], 12)


@pytest.mark.parametrize("mirror", [True, False])
def test_targets_follow_the_tokens(model: SmartiesPretraining, mirror: bool) -> None:
    """The tokens of a stream are those of its patches and slots."""
    output = run(model, mirror=mirror)
    for stream in output.streams:
        again = model.spectrum_projection.by_patch(stream.patches, stream.slots)
        assert torch.allclose(stream.tokens, again, atol=1e-4)
    unmixed = torch.equal(output.streams[1].patches, patchify(pair()[1]))
    assert unmixed == (not mirror)


def test_loss_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, 2, 3, 12, 256, generator=generator).unbind(0)
    mask = torch.tensor([[1.0, 0, 1], [0, 0, 1]])
    masked = mask.bool()
    plain = ((prediction - target) ** 2).flatten(2).mean(2)[masked].mean()
    assert torch.allclose(reconstruction_loss(prediction, target, mask, normalise=False), plain, atol=1e-5)
    values = target.flatten(2).double()
    scaled = (values - values.mean(2, keepdim=True)) / (values.std(2, keepdim=True) ** 2 + 1e-6).sqrt()
    normed = ((prediction.flatten(2) - scaled) ** 2).mean(2)[masked].mean().float()
    assert torch.allclose(reconstruction_loss(prediction, target, mask), normed, atol=1e-5)


def test_the_loss_does_not_see_kept_tokens(model: SmartiesPretraining) -> None:
    output = run(model)
    target, mask = output.streams[0].patches, output.masking.mask
    changed = target + (1 - mask)[..., None, None]
    assert torch.equal(*(reconstruction_loss(output.predictions[0], t, mask) for t in (target, changed)))


def test_a_pass_is_reproducible_and_trains(model: SmartiesPretraining) -> None:
    model.zero_grad()
    output = run(model)
    assert torch.equal(output.loss, run(model).loss)
    assert torch.allclose(output.loss, output.losses.sum() / 2)
    output.loss.backward()
    used = {"mask_token", "cls_token", "blocks.0.attn.qkv.weight"}
    used |= {f"decoder_preds.{layer}.weight" for layer in (0, 2, 3, 5, 14)}
    for name, parameter in model.named_parameters():
        if name in used:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert model.decoder_preds[15].weight.grad is None


def test_low_precision_keeps_the_loss_in_float32(model: SmartiesPretraining) -> None:
    expected = run(model)
    with torch.autocast("cpu", torch.bfloat16):
        output = run(model)
    assert output.loss.dtype == torch.float32
    assert output.loss.item() == pytest.approx(expected.loss.item(), rel=0.02)


def test_ranges_without_an_output_layer(model: SmartiesPretraining) -> None:
    with pytest.raises(ValueError, match="blue_2"):
        model(pair((3, 3)), (("blue_2", *RGB[1:]), RGB), draw(2, 16), draw(2, 16))


def test_images_of_another_size(model: SmartiesPretraining) -> None:
    first, second = pair()
    with pytest.raises(ValueError, match="64 x 64"):
        model((first, second[..., :48]), (RGB, S2), draw(2, 16), draw(2, 16))


def test_state_survives_meta_and_file(model: SmartiesPretraining, tmp_path: Path) -> None:
    save_weights(model, tmp_path / "weights.safetensors")
    with torch.device("meta"):
        empty = SmartiesPretraining(**TINY, **DECODER)
    again = load_weights(empty, tmp_path / "weights.safetensors")
    assert torch.equal(run(again).loss, run(model).loss)
    assert isinstance(again, SmartiesPretraining) and not again.pos_embed.requires_grad
