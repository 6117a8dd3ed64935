"""Published layouts: what is recognised, what is built, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from backend.models.encoders import smarties_official as official
from backend.models.encoders.smarties import MEMBERS, Smarties, position_rows
from backend.models.encoders.smarties_pretraining import SmartiesPretraining
from backend.models.encoders.smarties_spectrum import band_sets
from backend.models.load import initialise
from backend.protocol.errors import PackageError

WIDTH, CLASSES = 128, 5
Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def pretrained() -> Tensors:
    """A file's content: official names, encoder 128 / 2, decoder 64 / 2, 4 x 4 tokens."""
    with torch.device("meta"):
        module = SmartiesPretraining(WIDTH, 2, 2, 64, decoder_width=64, decoder_depth=2, decoder_heads=2)
    return dict(initialise(module, seed=0).state_dict())


@pytest.fixture(scope="module")
def encoder(pretrained: Tensors) -> Tensors:
    return {name: t for name, t in pretrained.items() if not name.startswith(("decoder_", "mask_token"))}


def heads(width: int = WIDTH) -> dict[str, Tensors]:
    """Head tensors by kind (section 10.2)."""
    linear = {"head.weight": torch.randn(CLASSES, width), "head.bias": torch.randn(CLASSES)}

    def probe(inputs: int) -> Tensors:
        return {
            "head.0.running_mean": torch.randn(inputs),
            "head.0.running_var": torch.rand(inputs) + 0.5,
            "head.0.num_batches_tracked": torch.tensor(7),
            "head.1.weight": torch.randn(CLASSES, inputs),
            "head.1.bias": torch.randn(CLASSES),
        }

    dense = {"head.0.weight": torch.randn(CLASSES, width, 1, 1), "head.0.bias": torch.randn(CLASSES)}
    return {
        official.FINETUNED: linear,
        official.LINEAR_PROBE: probe(width),
        official.MULTIMODAL_PROBE: probe(2 * width),
        official.SEGMENTATION: dense,
    }


def written(tensors: Tensors, folder: Path) -> Path:
    save_file({name: t.clone() for name, t in tensors.items()}, folder / "file.safetensors")
    return folder / "file.safetensors"


def test_a_pretrained_file(pretrained: Tensors, tmp_path: Path) -> None:
    weights = official.read_official(written(pretrained, tmp_path))
    assert (weights.kind, weights.width, weights.depth, weights.image_size) == ("pretrained", WIDTH, 2, 64)
    assert weights.classes is None
    again = official.build_pretraining(weights)
    assert again.training and all(torch.equal(t, pretrained[name]) for name, t in again.state_dict().items())
    encoder = official.build_encoder(weights)
    assert not encoder.training and encoder.positions == "formula"
    with pytest.raises(PackageError, match="no head"):
        official.build_head(weights)


def test_a_pretrained_file_without_decoder(encoder: Tensors, tmp_path: Path) -> None:
    weights = official.read_official(written(encoder, tmp_path))
    assert weights.kind == official.PRETRAINED and not weights.decoder
    with pytest.raises(PackageError, match="no decoder"):
        official.build_pretraining(weights)


@pytest.mark.parametrize("kind", official.KINDS[1:])
def test_files_with_a_head(encoder: Tensors, tmp_path: Path, kind: str) -> None:
    head = heads()[kind]
    weights = official.read_official(written({**encoder, **head}, tmp_path))
    assert (weights.kind, weights.classes) == (kind, CLASSES)
    network, module = official.build_encoder(weights), official.build_head(weights)
    assert network.positions == "resized"
    assert {f"head.{name}" for name in module.state_dict()} == set(head)
    with torch.no_grad():
        features = network(torch.randn(2, 3, 64, 64), network.bands(band_sets()["RGB"]))
        entry = features.dense if kind == official.SEGMENTATION else features.feature
        entry = torch.cat([entry, entry], 1) if kind == official.MULTIMODAL_PROBE else entry
        logits = module(entry)
    assert logits.shape == ((2, CLASSES, 4, 4) if kind == official.SEGMENTATION else (2, CLASSES))
    if kind in (official.LINEAR_PROBE, official.MULTIMODAL_PROBE):
        standard = (entry - head["head.0.running_mean"]) / (head["head.0.running_var"] + 1e-6).sqrt()
        assert torch.allclose(logits, standard @ head["head.1.weight"].T + head["head.1.bias"], atol=1e-3)


def test_a_pooled_classifier(encoder: Tensors, tmp_path: Path) -> None:
    pooled = {name.replace("norm.", "fc_norm.") if name.startswith("norm.") else name: t for name, t in encoder.items()}
    weights = official.read_official(written({**pooled, **heads()[official.FINETUNED]}, tmp_path))
    assert weights.global_pool and official.build_encoder(weights).global_pool
    with pytest.raises(PackageError, match=r"unexpected norm\.bias"):
        official.read_official(written({**pooled, **encoder, **heads()[official.FINETUNED]}, tmp_path))
    with pytest.raises(PackageError, match=r"missing norm\.bias"):
        official.read_official(written(pooled, tmp_path))  # pre-trained files do not pool


@pytest.mark.parametrize("prefix", ["model.", "module.", "smarties.", "backbone.", "module.model."])
def test_prefixes(encoder: Tensors, tmp_path: Path, prefix: str) -> None:
    tensors = {**{f"{prefix}{name}": t for name, t in encoder.items()}, **heads()[official.FINETUNED]}
    weights = official.read_official(written(tensors, tmp_path))
    assert weights.encoder.keys() == encoder.keys()
    with pytest.raises(PackageError, match="two tensors are cls_token"):
        official.read_official(written({**tensors, "cls_token": encoder["cls_token"]}, tmp_path))


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_single(pretrained: Tensors, tmp_path: Path, precision: torch.dtype) -> None:
    weights = official.read_official(written({name: t.to(precision) for name, t in pretrained.items()}, tmp_path))
    module = official.build_pretraining(weights)
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert weights.stored == precision


def test_every_name_must_fit(pretrained: Tensors, encoder: Tensors, tmp_path: Path) -> None:
    finetuned = {**encoder, **heads()[official.FINETUNED]}

    def without(tensors: Tensors, *names: str) -> Tensors:
        return {name: t for name, t in tensors.items() if not name.startswith(names)}

    cases: list[tuple[Tensors, str]] = [
        ({**pretrained, "optimizer.step": torch.zeros(1)}, r"unexpected optimizer\.step"),
        ({**finetuned, "mask_token": torch.zeros(1, 1, 64)}, "unexpected mask_token"),
        ({**finetuned, "head.scale": torch.zeros(1)}, r"unexpected head\.scale"),
        (without(pretrained, "cls_token"), "missing cls_token"),
        (without(pretrained, "pos_embed"), "missing pos_embed"),
        (without(pretrained, "blocks.0.attn.qkv.bias"), r"missing blocks\.0\.attn\.qkv\.bias"),
        (without(pretrained, "blocks.0."), r"missing blocks\.0\."),
        (
            without(encoder, "spectrum_projection.spectrum_embeds.16."),
            r"missing spectrum_projection\.spectrum_embeds\.16",
        ),
        (without(pretrained, "mask_token"), "missing mask_token"),
        (without(pretrained, "decoder_norm", "decoder_blocks.1."), r"missing decoder_blocks\.1"),
        (without(pretrained, "decoder_preds.3."), r"missing decoder_preds\.3\.bias"),
        (without(finetuned, "head.bias"), r"missing head\.bias"),
        ({**encoder, "head.2.weight": torch.zeros(1)}, r"head\.2\.weight"),
        ({**pretrained, "norm.bias": torch.zeros(3)}, r"norm\.bias is \(3,\), not \(128,\)"),
        ({**pretrained, "norm.bias": torch.zeros(128, dtype=torch.int32)}, r"norm\.bias holds integers"),
        ({**pretrained, "cls_token": torch.zeros(1, 1, 100)}, "width of 100"),
        ({**pretrained, "cls_token": torch.zeros(100)}, "cls_token is"),
        ({**pretrained, "pos_embed": pretrained["pos_embed"][:, :-1]}, "16 rows"),
    ]
    for tensors, words in cases:
        with pytest.raises(PackageError, match=words):
            official.read_official(written(tensors, tmp_path))


def test_files_that_lack_their_last_blocks(tmp_path: Path) -> None:
    """A width that was published has its published depth, however few blocks a file names."""
    with torch.device("meta"):
        shapes = {name: t.shape for name, t in Smarties(768, 1, 12, 32).state_dict().items()}
    tensors = {name: torch.zeros(shape, dtype=torch.float16) for name, shape in shapes.items()}
    with pytest.raises(PackageError, match=r"missing blocks\.1\.attn"):
        official.read_official(written(tensors, tmp_path))


def test_position_tables_are_checked(pretrained: Tensors, encoder: Tensors, tmp_path: Path) -> None:
    for name in ("pos_embed", "decoder_pos_embed"):
        changed = pretrained[name].clone()
        changed[0, 3, 5] += 0.0125
        with pytest.raises(PackageError, match=rf"^[^:]*: {name} differs .* by up to 0\.0125"):
            official.read_official(written({**pretrained, name: changed}, tmp_path))
    # Transposed, the row in front of the column, shapes alone would not tell.
    turned = pretrained["pos_embed"].clone()
    turned[:, 1:] = turned[:, 1:].reshape(1, 4, 4, WIDTH).transpose(1, 2).reshape(1, 16, WIDTH)
    with pytest.raises(PackageError, match="pos_embed differs"):
        official.read_official(written({**pretrained, "pos_embed": turned}, tmp_path))
    # Fine-tuning trains the table.
    official.read_official(written({**encoder, **heads()[official.FINETUNED], "pos_embed": turned}, tmp_path))


@pytest.mark.parametrize("content", [None, b"", b"\x80\x02}q\x00."])
def test_files_that_are_no_safetensors(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(PackageError, match="only safetensors"):
        official.read_official(tmp_path / "file.pth")


@pytest.mark.slow
def test_the_real_layout_of_vit_b(tmp_path: Path) -> None:
    """All 318 names and shapes of the base model, in half precision, as encoder and as classifier of 184 tensors."""
    with torch.device("meta"):
        shapes = {name: t.shape for name, t in SmartiesPretraining().state_dict().items()}
    tensors = {name: torch.zeros(shape, dtype=torch.float16) for name, shape in shapes.items()}
    for name in ("pos_embed", "decoder_pos_embed"):
        tensors[name] = position_rows(14, 14, tensors[name].shape[2]).half()
    weights = official.read_official(written(tensors, tmp_path))
    assert len(tensors) == 318 and (weights.width, weights.depth, weights.image_size) == (768, 12, 224)
    assert len(official.build_pretraining(weights).state_dict()) == 318

    with torch.device("meta"):
        names = MEMBERS["smarties-vit-b"]().state_dict().keys()
    head = {name: t.half() for name, t in heads(768)[official.FINETUNED].items()}
    classifier = {**{name: tensors[name] for name in names}, **head}
    assert len(classifier) == 184
    weights = official.read_official(written(classifier, tmp_path))
    assert (weights.kind, weights.classes) == (official.FINETUNED, CLASSES)
    official.build_encoder(weights)
    official.build_head(weights)
