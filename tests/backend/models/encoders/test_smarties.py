"""The projection and the encoder of SMARTIES: sizes, bands, positions, precision, graphs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from backend.models.encoders import build
from backend.models.encoders.smarties import MEMBERS, Smarties, position_rows, resized_positions
from backend.models.encoders.smarties_projection import SpectrumProjection, patchify
from backend.models.encoders.smarties_spectrum import band_sets, interpolate, mixing_matrix, ranges
from backend.models.load import initialise, load_weights, save_weights
from backend.protocol.errors import PackageError, ParameterError
from backend.train.export import export_onnx

S2, S1, RGB = (band_sets()[name] for name in ("S2", "S1", "RGB"))
NARROW = SpectrumProjection(16)


@pytest.fixture(scope="module")
def encoder() -> Smarties:
    return small()


@pytest.fixture(scope="module")
def projection() -> SpectrumProjection:
    torch.manual_seed(2)
    return SpectrumProjection(32)


def small(**changes: object) -> Smarties:
    with torch.device("meta"):
        module = Smarties(**{"width": 64, "depth": 2, "heads": 2, "image_size": 64, **changes})  # type: ignore[arg-type]
    return initialise(module, seed=1).eval()


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


# Sizes


@pytest.mark.parametrize(
    ("name", "tensors", "numbers"),
    [("smarties-vit-b", 182, 88_563_456), ("smarties-vit-l", 326, 306_988_032)],
)
def test_published_sizes(name: str, tensors: int, numbers: int) -> None:
    # Section 1; a classifier adds two tensors to those of the encoder (section 10.2: 184 and 328).
    with torch.device("meta"):
        state = MEMBERS[name]().state_dict()
    assert (len(state), sum(t.numel() for t in state.values())) == (tensors, numbers)
    projections = sum(t.numel() for key, t in state.items() if key.startswith("spectrum_projection."))
    assert projections == {"smarties-vit-b": 3_355_392, "smarties-vit-l": 4_473_856}[name]


def test_every_member_initialises_and_encodes() -> None:
    for name in MEMBERS:
        module = build(name, seed=0, depth=1).eval()
        features = module(images(1, 2, 32, 48), module.bands(S1))
        assert features.dense.shape == (1, module.width, 2, 3)
        assert torch.isfinite(features.feature).all()


# Projection


def test_patches_are_cut_row_by_row() -> None:
    image = torch.arange(2 * 32 * 48.0).reshape(1, 2, 32, 48)
    patches = patchify(image)
    assert patches.shape == (1, 6, 2, 256)
    assert torch.equal(patches[0, 4, 1].reshape(16, 16), image[0, 1, 16:32, 16:32])
    with pytest.raises(ValueError, match="16 x 16"):
        patchify(image[..., :47])


def test_tokens_follow_the_formula(projection: SpectrumProjection) -> None:
    image = images(2, 3, 16, 32)
    layers = [projection.spectrum_embeds[ranges()[key].index].proj for key in RGB]
    embeddings = [layer(patchify(image)[:, :, band]) for band, layer in enumerate(layers)]
    expected = 12 * torch.stack(embeddings).mean(0)
    assert torch.allclose(projection(image, projection.blends(RGB)), expected, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(12)), st.integers(1, 12), st.integers(1, 3))
def test_any_order_and_subset(order: list[int], count: int, times: int) -> None:
    """A subset in any order, repeated as a whole, per channel, per patch, by matrix or by presence: one result."""
    projection, image = NARROW, images(2, 12, 16, 32)
    chosen = order[:count]
    keys = [S2[band] for band in chosen]
    expected = projection(image[:, sorted(chosen)], projection.blends([S2[band] for band in sorted(chosen)]))
    part = image[:, chosen].repeat(1, times, 1, 1)
    index = torch.tensor(projection.indices(keys * times)).expand(2, 2, -1)
    there = torch.zeros(2, 12)
    there[:, chosen] = 1
    hidden = torch.where(there[..., None, None] > 0, image, torch.nan)
    for found in (
        projection(part, projection.blends(keys * times)),
        projection(part, mixing_matrix(projection.blends(keys * times))),
        projection.by_patch(patchify(part), index),
        projection(hidden, projection.blends(S2), there),
    ):
        assert torch.allclose(found, expected, atol=2e-5)


def test_presence_per_sample(projection: SpectrumProjection) -> None:
    image, bands = images(3, 3, 16, 16), projection.blends(RGB)
    there = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 0, 0]])
    tokens = projection(image, bands, there)
    assert torch.allclose(tokens[0], projection(image[:1], bands)[0], atol=1e-5)
    assert torch.allclose(tokens[1], projection(image[1:2, [0, 2]], (bands[0], bands[2]))[0], atol=1e-5)
    assert torch.equal(tokens[2], torch.zeros(1, 32))


def test_patches_of_different_sensors(projection: SpectrumProjection) -> None:
    radar, optical = images(1, 2, 16, 16, seed=1), images(1, 2, 16, 16, seed=2)
    index = torch.tensor([projection.indices(S1), projection.indices(RGB[:2])])[None]
    tokens = projection.by_patch(torch.cat([patchify(radar), patchify(optical)], 1), index)
    assert torch.allclose(tokens[:, :1], projection(radar, projection.blends(S1)), atol=1e-5)
    assert torch.allclose(tokens[:, 1:], projection(optical, projection.blends(RGB[:2])), atol=1e-5)


def test_interpolated_bands_are_blends_of_embeddings(projection: SpectrumProjection) -> None:
    image = images(1, 1, 16, 16)
    aerosol, blue = (projection(image, projection.blends([key])) for key in ("aerosol", "blue_1"))
    for mode, share in (("released", 0.79), ("linear", 0.21)):
        expected = share * aerosol + (1 - share) * blue
        assert torch.allclose(projection(image, projection.blends(["blue_2"], mode)), expected, atol=1e-5)
        index = torch.full((1, 1, 1), 18)
        assert torch.allclose(projection.by_patch(patchify(image), index, mode), expected, atol=1e-5)


def test_what_has_no_layer_is_refused(projection: SpectrumProjection) -> None:
    with pytest.raises(ParameterError, match="SWIR cirrus"):
        projection.blends(band_sets()["S2-L1C"])
    with pytest.raises(ParameterError, match="SWIR cirrus"):
        projection.indices(["short_wave_infrared_2"])
    patches = patchify(images(1, 1, 16, 16))
    with pytest.raises(ParameterError, match="SWIR cirrus"):
        projection.by_patch(patches, torch.full((1, 1, 1), -1))
    with pytest.raises(ParameterError, match="no projection 19"):
        projection.by_patch(patches, torch.full((1, 1, 1), 19))


def test_bands_that_do_not_fit_the_image(projection: SpectrumProjection) -> None:
    with pytest.raises(ValueError, match="2 channels does not fit 3 bands"):
        projection(images(1, 2, 16, 16), projection.blends(RGB))
    with pytest.raises(ValueError, match="3 columns"):
        projection(images(1, 2, 16, 16), torch.ones(2, 3))


def test_layers_that_no_band_uses_get_no_gradient(projection: SpectrumProjection) -> None:
    with torch.enable_grad():
        projection(images(1, 2, 16, 16), projection.blends(S1)).sum().backward()
    trained = [number for number, part in enumerate(projection.spectrum_embeds) if part.proj.weight.grad is not None]
    assert trained == [15, 16]


# Learned bands


def test_a_learned_band_starts_as_its_interpolation(tmp_path: Path) -> None:
    encoder, image = small(), images(1, 3, 32, 32)
    bands = (*encoder.bands(RGB[:2]), interpolate(2000, "linear"))
    before = encoder(image, bands).feature
    encoder.learn_band("swir_2000", 1980, 2020, "linear")
    after = encoder(image, encoder.bands([*RGB[:2], "swir_2000"])).feature
    assert torch.allclose(before, after, atol=1e-5)
    index = torch.tensor(encoder.spectrum_projection.indices(["swir_2000"])).reshape(1, 1, 1).expand(1, 4, 1)
    by_patch = encoder.spectrum_projection.by_patch(patchify(image[:, 2:]), index)
    assert torch.allclose(by_patch, encoder.spectrum_projection(image[:, 2:], encoder.bands(["swir_2000"])), atol=1e-5)
    with torch.enable_grad():
        encoder(image, encoder.bands([*RGB[:2], "swir_2000"])).dense.sum().backward()
    assert float(encoder.spectrum_projection.learned["swir_2000"].proj.weight.grad.abs().sum()) > 0

    save_weights(encoder, tmp_path / "weights.safetensors")
    again = load_weights(small(learned=("swir_2000",)), tmp_path / "weights.safetensors").eval()
    assert torch.equal(again(image, again.bands([*RGB[:2], "swir_2000"])).feature, after)
    with pytest.raises(PackageError, match=r"unexpected spectrum_projection\.learned\.swir_2000"):
        load_weights(small(), tmp_path / "weights.safetensors")


@pytest.mark.parametrize("key", ["aerosol", "has.dot", "items", "twice"])
def test_names_that_a_learned_band_cannot_have(key: str) -> None:
    encoder = small(learned=("twice",))
    with pytest.raises(ParameterError, match=key):
        encoder.learn_band(key, 600, 700)


def test_a_learned_band_is_not_extrapolated() -> None:
    with pytest.raises(ParameterError, match="does not extrapolate"):
        small().learn_band("violet", 380, 420)


# Positions and outputs


def test_column_comes_first_in_the_position_table() -> None:
    table = position_rows(2, 3, 8)[0]
    assert torch.equal(table[0], torch.zeros(8))
    # Row 0, column 2, in front of which is the class token's row: sin and cos of 2 and 2 / 100, then those of 0.
    expected = [np.sin(2), np.sin(0.02), np.cos(2), np.cos(0.02), 0, 0, 1, 1]
    assert np.allclose(table[3], expected, atol=1e-7)


def test_other_grids_get_a_table_built_or_resized(encoder: Smarties) -> None:
    resized = small(positions="resized")
    assert encoder.position_table(4, 4) is encoder.pos_embed
    assert torch.equal(encoder.position_table(3, 5), position_rows(3, 5, 64))
    maps = encoder.pos_embed[:, 1:].reshape(1, 4, 4, 64).permute(0, 3, 1, 2)
    expected = functional.interpolate(maps, size=(3, 5), mode="bicubic", align_corners=False)
    found = resized.position_table(3, 5)
    assert torch.equal(found[:, 1:], expected.flatten(2).transpose(1, 2))
    assert torch.equal(found[:, :1], encoder.pos_embed[:, :1])
    assert torch.allclose(resized_positions(encoder.pos_embed, 4, 4), encoder.pos_embed, atol=1e-6)
    with pytest.raises(ValueError, match="positions"):
        Smarties(64, 1, 1, positions="learned")


def test_outputs_belong_together(encoder: Smarties) -> None:
    features = encoder(images(2, 3, 32, 48), encoder.bands(RGB), blocks=(0, 1))
    assert [tuple(t.shape) for t in (features.feature, features.dense, features.tokens)] == [
        (2, 64),
        (2, 64, 2, 3),
        (2, 7, 64),
    ]
    assert torch.equal(features.maps[1], features.dense)
    assert torch.equal(features.dense[:, :, 1, 0], features.tokens[:, 4])
    assert torch.equal(features.feature, encoder.norm(features.tokens[:, 0]))
    with pytest.raises(ValueError, match="blocks 0 to 1"):
        encoder(images(1, 3, 32, 32), encoder.bands(RGB), blocks=(2,))


def test_pooling_uses_its_own_norm() -> None:
    pooled = small(global_pool=True)
    assert not [name for name in pooled.state_dict() if name.startswith("norm.")]
    features = pooled(images(1, 3, 32, 32), pooled.bands(RGB))
    assert torch.allclose(features.feature, functional.layer_norm(features.tokens[:, 1:].mean(1), (64,), eps=1e-6))


def test_state_survives_meta_and_file(encoder: Smarties, tmp_path: Path) -> None:
    save_weights(encoder, tmp_path / "weights.safetensors")
    with torch.device("meta"):
        empty = Smarties(64, 2, 2, 64)
    again = load_weights(empty, tmp_path / "weights.safetensors").eval()
    for size in (64, 48):  # the stored table and another
        image = images(1, 2, size, size)
        assert torch.equal(again(image, again.bands(S1)).feature, encoder(image, encoder.bands(S1)).feature)


def test_low_precision_stays_close(encoder: Smarties) -> None:
    image, bands = images(2, 12, 64, 64), encoder.bands(S2)
    there = torch.ones(2, 12)
    expected = encoder(image, bands).feature
    with torch.autocast("cpu", torch.bfloat16):
        for found in (encoder(image, bands).feature, encoder(image, bands, there).feature):
            assert functional.cosine_similarity(found.float(), expected).min() > 0.999


# Graphs


class FixedBands(nn.Module):
    """What a package is exported from: bands fixed, those that are missing told by a second input."""

    input_names = ("image", "present")
    output_names = ("feature", "dense", "early", "tokens")

    def __init__(self, encoder: Smarties, keys: tuple[str, ...]) -> None:
        super().__init__()
        self.encoder = encoder
        self.bands = encoder.bands(keys)
        self.matrix = mixing_matrix(self.bands)

    def forward(self, image: Tensor, present: Tensor) -> tuple[Tensor, ...]:
        features = self.encoder(image, self.bands, present, blocks=(0,))
        tokens = self.encoder.spectrum_projection(image, self.matrix)
        return features.feature, features.dense, features.maps[0], tokens


def test_onnx_with_any_batch(tmp_path: Path) -> None:
    keys = ("blue_2", "red_2", "near_infrared_3")
    encoder = small(depth=1)
    network = FixedBands(encoder, keys).eval()
    feeds = {"image": images(2, 3, 32, 48).numpy(), "present": np.ones((2, 3), np.float32)}
    session = onnxruntime.InferenceSession(export_onnx(network, feeds, tmp_path / "model.onnx"))
    for batch in (1, 3):
        image, there = images(batch, 3, 32, 48, seed=batch), torch.ones(batch, 3)
        there[0, 1] = 0
        found = session.run(None, {"image": image.numpy(), "present": there.numpy()})
        for one, other in zip(found, network(image, there), strict=True):
            assert float((torch.from_numpy(one) - other).abs().max()) < 1e-4
    # Tracing leaves nothing behind: the table of this grid is a real one afterwards.
    assert torch.isfinite(encoder(images(1, 3, 32, 48), encoder.bands(keys)).feature).all()
