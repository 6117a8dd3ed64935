"""SMARTIES against what the authors' code made of the same weights (specification, section 11)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from backend.models.encoders.smarties import Smarties
from backend.models.encoders.smarties_fusion import mixed
from backend.models.encoders.smarties_mixup import exchange, repeated, taken_from_first
from backend.models.encoders.smarties_preprocess import normalise, statistics_of
from backend.models.encoders.smarties_pretraining import PretrainingOutput, SmartiesPretraining, masking
from backend.models.encoders.smarties_projection import patchify
from backend.models.encoders.smarties_spectrum import band_sets, blend, mixing_matrix, range_of, ranges
from backend.models.layers.positions import sine_cosine_table
from tests.golden import smarties as golden_sets
from tests.golden.smarties import Golden
from tests.golden.trim import trim

SENSORS = ("s2", "s1", "rgb", "unseen")
PAIRS = {"pair_s2_s1": ("s2", "s1"), "pair_rgb_s2": ("rgb", "s2")}
Close = Callable[[str, Tensor, Tensor], None]


@pytest.fixture(scope="module", params=["trimmed", "full"])
def golden(request: pytest.FixtureRequest) -> Golden:
    return getattr(golden_sets, request.param)()


@pytest.fixture(scope="module")
def full() -> Golden:
    return golden_sets.full()


@pytest.fixture(scope="module")
def model(full: Golden) -> SmartiesPretraining:
    return full.model()


@pytest.fixture
def close(record_property: Callable[[str, object], None]) -> Close:
    def check(name: str, found: Tensor, expected: Tensor) -> None:
        assert found.shape == expected.shape
        difference = float((found - expected).abs().max())
        record_property(f"largest difference of {name}", difference)
        assert difference <= golden_sets.TOLERANCE, f"{name} differs by {difference:.2e}"

    return check


@pytest.fixture(autouse=True)
def _no_gradients() -> object:
    with torch.no_grad():
        yield


# What both sets hold


def test_the_repository_holds_what_the_script_makes(tmp_path: Path) -> None:
    golden_sets.full()
    trim(golden_sets.FULL, tmp_path)
    for name in ("smarties.safetensors", "smarties.json"):
        assert (tmp_path / name).read_bytes() == (golden_sets.HERE / name).read_bytes()
    assert (tmp_path / "smarties.safetensors").stat().st_size < 3_000_000


def test_the_table_of_ranges(golden: Golden) -> None:
    assert {key: row.index for key, row in ranges().items()} == golden.meta["projection_index"]
    assert {key: [row.low_nm, row.high_nm] for key, row in ranges().items()} == golden.meta["wavelength"]
    assert {key: list(row.sources) for key, row in ranges().items() if row.sources} == golden.meta["aggregated"]
    for name, keys in golden.meta["sensors"].items():
        assert golden.keys(name) == tuple(keys) == band_sets().get(name.upper(), golden.keys("unseen"))


def test_position_table(golden: Golden, close: Close) -> None:
    expected = golden.values["position/grid14_dim64"]
    close("position", torch.cat([torch.zeros(1, 64), sine_cosine_table(14, 14, 64)]), expected)


@pytest.mark.parametrize("name", ["RGB", "SENTINEL2-L1C", "SENTINEL2-L2A", "SENTINEL1-GRD"])
def test_normalise(golden: Golden, close: Close, name: str) -> None:
    bands = statistics_of(name)
    assert [band.key for band in bands if band.used] == golden.meta["normalise_bands"][name]
    raw, expected = golden.values[f"normalise/{name}/raw"], golden.values[f"normalise/{name}/result"]
    close(name, normalise(raw[None], bands)[0], expected)


@pytest.mark.parametrize("key", ["blue_2", "thermal_infrared_1"])
def test_interpolation(golden: Golden, close: Close, key: str) -> None:
    sources, weights = zip(*blend(key), strict=True)
    assert list(sources) == golden.values[f"interpolation/{key}/sources"].tolist()
    close("weights", torch.tensor(weights), golden.values[f"interpolation/{key}/weights"])
    projection = golden.model().spectrum_projection
    # One band alone: the factor 12 / C is 12.
    tokens = projection(golden.values["interpolation/patch"][:, None], projection.blends([key]))
    close(key, tokens[:, 0] / 12, golden.values[f"interpolation/{key}/output"])


def test_tokens_of_sentinel_1(golden: Golden, close: Close) -> None:
    projection = golden.model().spectrum_projection
    bands = projection.blends(band_sets()["S1"])
    close("tokens", projection(golden.values["s1/image"], bands), golden.values["s1/token_embedding"])


def test_outputs_behind_the_last_block(golden: Golden, close: Close) -> None:
    model, values = golden.model(), golden.values
    last = values["s1/block_last"]
    close("tokens", model.norm(last), values["s1/tokens_normed"])
    feature = model.feature(last)
    close("class feature", feature, values["s1/cls_feature"])
    close("logits", functional.linear(feature, values["head/weight"], values["head/bias"]), values["s1/logits"])


@pytest.mark.parametrize("pair", PAIRS)
def test_draws_are_exact(golden: Golden, pair: str) -> None:
    values = golden.values
    first, second = ([range_of(key).index for key in golden.keys(name)] for name in PAIRS[pair])
    taken = taken_from_first(values[f"{pair}/noise_mixup"])
    index = [torch.tensor(repeated(own, 12)).expand(*taken.shape, -1) for own in (first, second)]
    streams = exchange(index[0], index[1], taken, mirror=False)
    assert torch.equal(streams[0], values[f"{pair}/mixed_index_1"].long())
    assert torch.equal(streams[1], values[f"{pair}/mixed_index_2"].long())
    drawn = masking(values[f"{pair}/noise_mask"])
    assert torch.equal(drawn.mask, values[f"{pair}/mask"])
    assert torch.equal(drawn.restore, values[f"{pair}/ids_restore"].long())


def test_the_mixup_of_the_fusion_is_a_mirror(golden: Golden) -> None:
    taken = taken_from_first(golden.values["mixup_concat/noise"])
    lists = [[range_of(key).index for key in golden.keys(name)] for name in ("s1", "s2")]
    index = [torch.tensor(repeated(own, 12)).expand(*taken.shape, -1) for own in lists]
    for number, stream in enumerate(exchange(index[0], index[1], taken, mirror=True), 1):
        assert torch.equal(stream, golden.values[f"mixup_concat/mixed_index_{number}"].flatten(1, 2).long())


def test_decoder(golden: Golden, close: Close) -> None:
    # The second stream of this pair is Sentinel-1 alone, as released (section 5).
    values = golden.values
    latent = values["pair_s2_s1/latent_2"]
    batch = latent.shape[0]
    expected = values["pair_s2_s1/prediction_2"][:batch, :, : 2 * 256].unflatten(2, (2, 256))
    slots = torch.tensor([15, 16]).expand(batch, 36, 2)
    found = golden.model().decode(latent, values["pair_s2_s1/ids_restore"][:batch].long(), slots)
    close("prediction", found, expected)


# What the full set holds


@pytest.mark.parametrize("sensor", SENSORS)
def test_encoder(full: Golden, model: SmartiesPretraining, close: Close, sensor: str) -> None:
    values = {name.removeprefix(f"{sensor}/"): t for name, t in full.values.items() if name.startswith(f"{sensor}/")}
    bands = model.bands(full.keys(sensor))
    tokens = model.spectrum_projection(values["image"], bands)
    close("tokens", tokens, values["token_embedding"])
    table = model.position_table(6, 6)
    first = model.blocks[0](model.with_class(tokens + table[:, 1:], table))
    close("first block", first, values["block_first"])
    features = model.features(values["image"], bands, blocks=(0, 3))
    close("last block", features.tokens, values["block_last"])
    close("normed tokens", model.norm(features.tokens), values["tokens_normed"])
    close("class feature", features.feature, values["cls_feature"])
    close("dense map", features.dense, values["dense_map"])
    close("map of the last block", features.maps[1], values["dense_map"])
    close("map of the first block", features.maps[0].flatten(2).transpose(1, 2), first[:, 1:])


@pytest.mark.parametrize("sensor", SENSORS)
def test_projection_by_patch_and_by_matrix(full: Golden, model: SmartiesPretraining, close: Close, sensor: str) -> None:
    image, index = full.values[f"{sensor}/image"], full.values[f"{sensor}/projection_index"]
    expected = full.values[f"{sensor}/token_embedding"]
    projection = model.spectrum_projection
    close("by patch", projection.by_patch(patchify(image), index.expand(2, 36, -1)), expected)
    close("by matrix", projection(image, mixing_matrix(projection.blends(full.keys(sensor)))), expected)


@pytest.mark.parametrize("sensor", SENSORS)
def test_heads(full: Golden, close: Close, sensor: str) -> None:
    values = full.values
    for pooled, name in ((False, "logits"), (True, "logits_global_pool")):
        encoder = Smarties(192, 4, 3, 96, global_pool=pooled).eval()
        wanted = encoder.state_dict().keys()
        norm = {f"fc_norm.{part}": values[f"fc_norm/{part}"] for part in ("weight", "bias")}
        encoder.load_state_dict({k: v for k, v in {**full.weights, **norm}.items() if k in wanted}, strict=True)
        feature = encoder(values[f"{sensor}/image"], encoder.bands(full.keys(sensor))).feature
        logits = functional.linear(feature, values["head/weight"], values["head/bias"])
        close(name, logits, values[f"{sensor}/{name}"])


def test_subset(full: Golden, model: SmartiesPretraining, close: Close) -> None:
    positions = full.values["subset/band_positions"]
    keys = [full.keys("s2")[position] for position in positions]
    assert keys == list(full.keys("subset"))
    feature = model.features(full.values["s2/image"][:, positions], model.bands(keys)).feature
    close("subset", feature, full.values["subset/cls_feature"])


@pytest.mark.parametrize("pair", PAIRS)
def test_pretraining(full: Golden, model: SmartiesPretraining, close: Close, pair: str) -> None:
    values = {name.removeprefix(f"{pair}/"): t for name, t in full.values.items() if name.startswith(f"{pair}/")}
    assert values["second_stream_unmixed"]
    outputs = {name: _pass(full, model, pair, normalise) for name, normalise in (("norm_pix", True), ("plain", False))}
    for name, output in outputs.items():
        close(f"loss {name}", output.loss, values[f"loss_{name}"])
    output = outputs["plain"]
    assert torch.equal(output.masking.mask, values["mask"])
    for number, stream in enumerate(output.streams, 1):
        close(f"tokens {number}", stream.tokens, values[f"mixed_tokens_{number}"])
        close(f"latent {number}", output.latents[number - 1], values[f"latent_{number}"])
        assert torch.equal(stream.slots, values[f"mixed_index_{number}"].long())
        if f"target_{number}" in values:
            assert torch.equal(stream.patches, values[f"target_{number}"])
            close(f"prediction {number}", output.predictions[number - 1].flatten(2), values[f"prediction_{number}"])


def _pass(full: Golden, model: SmartiesPretraining, pair: str, normalise: bool) -> PretrainingOutput:
    first, second = PAIRS[pair]
    images = (full.values[f"{first}/image"], full.values[f"{second}/image"])
    noise = (full.values[f"{pair}/noise_mixup"], full.values[f"{pair}/noise_mask"])
    return model(images, (full.keys(first), full.keys(second)), *noise, mirror=False, normalise=normalise)


def test_mixup_concatenation(full: Golden, model: SmartiesPretraining, close: Close) -> None:
    values = full.values
    images = (values["s1/image"], values["s2/image"])
    bands = (model.bands(full.keys("s1")), model.bands(full.keys("s2")))
    close("feature", mixed(model, images, bands, values["mixup_concat/noise"]), values["mixup_concat/feature"])
