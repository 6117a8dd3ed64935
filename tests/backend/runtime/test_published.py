"""Published files of SMARTIES become packages that compute what the published rules say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from backend.manifest import golden, hub
from backend.manifest.package import Package
from backend.models.encoders import smarties_official as official
from backend.models.encoders.smarties import position_rows
from backend.models.encoders.smarties_fusion import mixed
from backend.models.encoders.smarties_mixup import draw
from backend.models.encoders.smarties_resize import resize
from backend.models.encoders.smarties_spectrum import band_sets
from backend.protocol.errors import PackageError
from backend.runtime.assembly import assemble
from backend.runtime.choice import Choice
from backend.runtime.model import Model
from backend.runtime.packing import published
from backend.runtime.verify import verify
from tests.backend.runtime.smarties_files import Tensors, pretrained, with_head, written

FINETUNED = "gsumbul/SMARTIES-v1-finetuned-models"
SHA256 = "0123456789abcdef" * 4


def source(text: str) -> published.Source:
    """A source whose file may be small."""
    return published.Source(replace(hub.parse(f"hf:{text}"), member=""), SHA256)


def convert(text: str, tensors: Tensors, folder: Path) -> tuple[Package, ...]:
    return published.convert(written(tensors, folder / "fetched.safetensors"), source(text), folder)


def fitting(text: str) -> Tensors:
    """The layout that a name promises."""
    file = hub.parse(f"hf:{text}")
    return with_head(file.layout, len(file.data_set.classes)) if file.data_set else pretrained()


def scores(packages: tuple[Package, ...], feeds: dict[str, np.ndarray]) -> np.ndarray:
    with Model(assemble(packages), Choice("torch", "fp32", "cpu", 2)) as model:
        return model.run(feeds)[0]


def images(package: Package, count: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {
        slot.name: rng.normal(
            size=(count, *((1,) if slot.temporal else ()), len(slot.bands), slot.size, slot.size)
        ).astype(np.float32)
        for slot in package.inputs
    }


def enlarged(image: np.ndarray) -> Tensor:
    """As the authors evaluated (smarties.md, 3)."""
    return resize(torch.from_numpy(image), 224, 224)


def official_weights(text: str, folder: Path) -> official.OfficialWeights:
    return official.read_official(written(fitting(text), folder / "own.safetensors"))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_pretrained_file_with_decoder_becomes_an_encoder(tmp_path: Path, half: bool, prefix: str) -> None:
    tensors = {prefix + name: t.half() if half else t for name, t in pretrained(decoder=(64, 1)).items()}
    (package,) = convert("gsumbul/SMARTIES-v1-ViT-B", tensors, tmp_path)
    assert (package.reference, package.kind, package.licence) == ("smarties-vit-b@1.0.0", "encoder", "Apache-2.0")
    assert hub.origin(package).endswith(
        f"/gsumbul/SMARTIES-v1-ViT-B/resolve/main/smarties-v1-vitb.safetensors#sha256={SHA256}"
    )
    licence = package.path("LICENSE").read_text()
    assert "Sumbul" in licence and "Apache License" in licence and "END OF TERMS AND CONDITIONS" in licence
    assert [slot.name for slot in package.inputs] == ["s2", "s2_l1c", "landsat", "s1", "rgb"]
    assert all(check.ok for check in verify(package) if check.difference is not None)


@pytest.mark.parametrize(
    ("name", "feature", "activation", "classes"),
    [
        ("smarties-v1-vitb-eurosat-finetune", "s2_class", "softmax", 10),
        ("smarties-v1-vitl-eurosat-linprobe", "s2_class", "softmax", 10),
        ("smarties-v1-vitl-bigearthnets2-finetune", "s2_class", "sigmoid", 19),
        ("smarties-v1-vitb-bigearthnets1-linprobe", "s1_class", "sigmoid", 19),
        ("smarties-v1-vitl-resisc45-finetune", "rgb_class", "softmax", 45),
    ],
)
def test_a_classifier_computes_what_the_published_modules_do(
    tmp_path: Path, name: str, feature: str, activation: str, classes: int
) -> None:
    text = f"{FINETUNED}/{name}.safetensors"
    encoder, head = convert(text, fitting(text), tmp_path)
    assert head.name == encoder.name.removesuffix("-encoder") and head.encoder == encoder.digest
    assert [f.name for f in head.features] == [feature]
    assert (head.task, head.outputs[0].activation, len(head.outputs[0].classes)) == ("classify", activation, classes)
    assert bool(head.outputs[0].thresholds) == (activation == "sigmoid")
    feeds = images(encoder)
    weights = official_weights(text, tmp_path)
    network, (slot,) = official.build_encoder(weights), encoder.inputs
    kind = {"s2": "S2", "s1": "S1", "rgb": "RGB"}[slot.name]
    with torch.inference_mode():
        encoded = network(enlarged(feeds[slot.name][:, 0]), network.bands(band_sets()[kind])).feature
        logits = official.build_head(weights)(encoded)
    expected = logits.softmax(1) if activation == "softmax" else logits.sigmoid()
    np.testing.assert_allclose(scores((encoder, head), feeds), expected, atol=1e-5)
    assert all(check.ok for package in (encoder, head) for check in verify(package) if check.difference is not None)


def test_a_segmentation_computes_what_the_published_modules_do(tmp_path: Path) -> None:
    text = f"{FINETUNED}/smarties-v1-vitb-dfc2020-linprobe.safetensors"
    encoder, head = convert(text, fitting(text), tmp_path)
    (slot,) = encoder.inputs
    assert (head.task, head.tiling.window, slot.unit) == ("segment", slot.size, "dn")
    assert [info.value for info in head.outputs[0].classes] == [1, 2, 4, 5, 6, 7, 9, 10]
    feeds = images(encoder)
    weights = official_weights(text, tmp_path)
    network = official.build_encoder(weights)
    with torch.inference_mode():
        dense = network(enlarged(feeds["s2"][:, 0]), network.bands(band_sets()["S2"])).dense
        logits = official.build_head(weights)(dense)
        whole = torch.nn.functional.interpolate(logits, size=(slot.size, slot.size), mode="bilinear")
    np.testing.assert_allclose(scores((encoder, head), feeds), whole.softmax(1), atol=1e-5)


def test_the_multimodal_probe_averages_a_draw_and_its_complement(tmp_path: Path) -> None:
    text = f"{FINETUNED}/smarties-v1-vitb-bigearthnetmm-linprobe.safetensors"
    (bundle,) = convert(text, fitting(text), tmp_path)
    assert (bundle.kind, bundle.task, [slot.name for slot in bundle.inputs]) == ("bundle", "classify", ["s1", "s2"])
    feeds = images(bundle, 3)
    weights = official_weights(text, tmp_path)
    network, head = official.build_encoder(weights), official.build_head(weights)
    pair = (enlarged(feeds["s1"]), enlarged(feeds["s2"]))
    bands = (network.bands(band_sets()["S1"]), network.bands(band_sets()["S2"]))
    noise = draw(1, 196, 42).expand(3, -1)
    with torch.inference_mode():
        expected = sum(head(mixed(network, pair, bands, n)).sigmoid() for n in (noise, -noise)) / 2
    found = scores((bundle,), feeds)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    alone = scores((bundle,), {name: array[2:] for name, array in feeds.items()})
    np.testing.assert_allclose(alone, found[2:], atol=1e-6)
    assert all(check.ok for check in verify(bundle) if check.difference is not None)


def test_bands_get_their_own_statistics_whatever_the_order_of_the_table(tmp_path: Path) -> None:
    """EuroSAT has B8A last and B10 in between (smarties.md, 3.2)."""
    text = f"{FINETUNED}/smarties-v1-vitb-eurosat-finetune.safetensors"
    encoder, _ = convert(text, fitting(text), tmp_path)
    (slot,) = encoder.inputs
    assert slot.size == 70 and slot.unit == "reflectance"  # 5 px per token: 64 px enlarged to 224 make 4.6
    p99 = dict(zip([band.name for band in slot.bands], slot.steps[0].maximum, strict=True))
    assert (p99["B8A"], p99["B09"], p99["B12"]) == pytest.approx((0.5312, 0.1851, 0.3132))


def changed(change: Callable[[Tensors], object], tensors: Tensors | None = None) -> Tensors:
    found = dict(pretrained() if tensors is None else tensors)
    change(found)
    return found


def moved(tensors: Tensors) -> None:
    """Row first, as a transposed table has it."""
    table = position_rows(14, 14, 128)
    tensors["pos_embed"] = torch.cat([table[..., 64:], table[..., :64]], dim=2)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.update({"extra.weight": torch.zeros(3)}), "unexpected extra.weight"),
        (lambda t: t.pop("blocks.2.attn.qkv.bias"), "missing blocks.2.attn.qkv.bias"),
        (lambda t: t.update({"norm.bias": torch.zeros(5)}), "norm.bias is"),
        (moved, "pos_embed differs from the published formula"),
        (lambda t: t.update(fitting_head(10)), 'layout is "finetuned"'),
        (lambda t: t.update({"blocks.4.norm1.weight": torch.ones(128)}), "missing blocks.4"),
        (lambda t: t.update({"cls_token": torch.full((1, 1, 128), float("nan"))}), "not finite"),
    ],
    ids=["unexpected", "missing", "shape", "positions", "head", "depth", "nan"],
)
def test_what_is_not_expected_is_refused_by_name(
    tmp_path: Path, change: Callable[[Tensors], object], named: str
) -> None:
    with pytest.raises(PackageError, match=named):
        convert("gsumbul/SMARTIES-v1-ViT-B", changed(change), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["fetched.safetensors"]


def fitting_head(classes: int) -> Tensors:
    return {"head.weight": torch.zeros(classes, 128), "head.bias": torch.zeros(classes)}


def test_a_file_of_another_size_or_data_set_than_its_name_says_is_refused(tmp_path: Path) -> None:
    path = written(pretrained(), tmp_path / "fetched.safetensors")
    with pytest.raises(PackageError, match="not vit-b"):
        published.convert(path, published.Source(hub.parse("hf:gsumbul/SMARTIES-v1-ViT-B"), SHA256), tmp_path)
    text = f"{FINETUNED}/smarties-v1-vitb-eurosat-finetune.safetensors"
    with pytest.raises(PackageError, match="12 classes, EuroSAT has 10"):
        convert(text, with_head("finetuned", 12), tmp_path)
    pooled = changed(lambda t: t.update({f"fc_{n}": t.pop(n) for n in ("norm.weight", "norm.bias")}), fitting(text))
    with pytest.raises(PackageError, match="pooled"):
        convert(text, pooled, tmp_path)
    small = changed(lambda t: t.update(pos_embed=position_rows(6, 6, 128)))
    with pytest.raises(PackageError, match="images of 96 pixels"):
        convert("somebody/theirs/weights.safetensors", small, tmp_path)


def test_an_unknown_repository_may_hold_an_encoder_but_no_head(tmp_path: Path) -> None:
    (package,) = convert("Some_body/My.Models/weights-2.safetensors", pretrained(), tmp_path)
    assert package.name == "some-body-my-models-weights-2" and "Some_body/My.Models" in package.title
    with pytest.raises(PackageError, match="bands and classes of its head are not known"):
        convert("Some_body/My.Models/weights-3.safetensors", with_head("finetuned", 3), tmp_path)


def test_golden_data_of_heads_come_from_their_encoder(tmp_path: Path) -> None:
    text = f"{FINETUNED}/smarties-v1-vitb-eurosat-finetune.safetensors"
    encoder, head = convert(text, fitting(text), tmp_path)
    np.testing.assert_array_equal(golden.read(head)[0]["s2_class"], golden.read(encoder)[1]["s2_class"])
