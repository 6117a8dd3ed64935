"""Whole detectors: initialisation, empty images, precision, determinism, and that they learn."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.models.heads import box_head, region_proposals
from backend.models.heads.detection import Detections, Targets
from backend.models.heads.faster_rcnn import FasterRCNN
from backend.models.heads.oriented_rcnn import OrientedRCNN
from backend.models.heads.two_stage import TwoStageDetector
from backend.models.load import initialise, load_weights, save_weights
from backend.models.ops import boxes, rotated

WIDTHS = (8, 8, 8, 8)
KINDS = pytest.mark.parametrize("kind", [FasterRCNN, OrientedRCNN])
NAMES = {"proposal_objectness", "proposal_boxes", "box_classes", "boxes"}


def detector(kind: type[FasterRCNN | OrientedRCNN], classes: int = 2, hidden: int = 32) -> TwoStageDetector:
    with torch.device("meta"):
        module = kind(WIDTHS, classes, 16, hidden)
    initialised = initialise(module, seed=0)
    assert isinstance(initialised, TwoStageDetector)
    return initialised


def maps(batch: int = 2, side: int = 64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, 8, side // s, side // s, generator=generator) for s in (4, 8, 16, 32)]


def none_of(kind: type) -> Targets:
    return Targets(torch.zeros(0, 4 if kind is FasterRCNN else 5), torch.zeros(0, dtype=torch.int64))


def one_of(kind: type) -> Targets:
    box = [10.0, 12, 40, 36] if kind is FasterRCNN else [30.0, 30, 34, 16, 0.6]
    return Targets(torch.tensor([box]), torch.tensor([1]))


@KINDS
def test_losses_and_detections_have_the_promised_form(kind: type[FasterRCNN | OrientedRCNN]) -> None:
    module = detector(kind)
    losses = module.train()(maps(), (64, 64), [one_of(kind), none_of(kind)])
    assert isinstance(losses, dict) and set(losses) == NAMES
    assert all(loss.dtype == torch.float32 and bool(loss.isfinite()) and loss.ndim == 0 for loss in losses.values())
    sum(losses.values(), torch.zeros(())).backward()
    assert [name for name, p in module.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())] == []
    found = module.eval()(maps(), (64, 64))
    assert isinstance(found, list) and len(found) == 2
    for each in found:
        assert isinstance(each, Detections)
        assert each.boxes.shape == (len(each.scores), 4 if kind is FasterRCNN else 5)
        assert len(each.scores) <= 100 and bool((each.scores.diff() <= 0).all()) and bool((each.scores >= 0.05).all())
        assert each.labels.dtype == torch.int64 and set(each.labels.tolist()) <= {0, 1}


def test_published_size() -> None:
    """torchvision's Faster R-CNN with 90 classes has 41 755 286 parameters.

    Of these 23 454 912 are convolutions of its ResNet-50 and 4 * 1025 the box code that it keeps for background.
    """
    with torch.device("meta"):
        module = FasterRCNN((256, 512, 1024, 2048), 90)
    assert sum(parameter.numel() for parameter in module.parameters()) == 41_755_286 - 23_454_912 - 4 * 1025


@KINDS
def test_training_needs_targets(kind: type[FasterRCNN | OrientedRCNN]) -> None:
    with pytest.raises(ValueError, match="targets"):
        detector(kind).train()(maps(), (64, 64))


def test_maps_are_counted() -> None:
    with pytest.raises(ValueError, match="4 maps, not 3"):
        FasterRCNN((8, 8, 8), 2)


@KINDS
def test_images_without_targets_and_without_proposals(kind: type[FasterRCNN | OrientedRCNN]) -> None:
    """Box codes that shrink every proposal to nothing."""
    module = detector(kind)
    with torch.no_grad():
        module.proposals.code.bias.fill_(-1000.0)
    losses = module.train()(maps(), (64, 64), [none_of(kind), none_of(kind)])
    assert isinstance(losses, dict)
    zero = {name for name, loss in losses.items() if float(loss.detach()) == 0}
    assert zero == {"boxes", "box_classes", "proposal_boxes"}
    sum(losses.values(), torch.zeros(())).backward()
    assert all(bool(p.grad.isfinite().all()) for p in module.parameters() if p.grad is not None)
    found = module.eval()(maps(), (64, 64))
    assert isinstance(found, list) and [len(each.boxes) for each in found] == [0, 0]


@KINDS
def test_targets_without_area_teach_nothing_and_break_nothing(kind: type[FasterRCNN | OrientedRCNN]) -> None:
    box = [[10.0, 10, 10, 30], [5, 5, 5, 5]] if kind is FasterRCNN else [[20.0, 20, 30, 0, 0.0], [5, 5, 0, 0, 1.0]]
    flat = Targets(torch.tensor(box), torch.tensor([0, 1]))
    losses = detector(kind).train()(maps(1), (64, 64), [flat])
    assert isinstance(losses, dict)
    assert all(bool(loss.isfinite()) for loss in losses.values()) and float(losses["boxes"].detach()) == 0


@KINDS
def test_losses_are_float32_under_autocast(kind: type[FasterRCNN | OrientedRCNN]) -> None:
    module = detector(kind).train()
    images, targets = maps(), [one_of(kind), one_of(kind)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert module.pyramid(*images)[0].dtype == torch.bfloat16
        found = module(images, (64, 64), targets, torch.Generator().manual_seed(0))
        detections = module.eval()(images, (64, 64))
    plain = module.train()(images, (64, 64), targets, torch.Generator().manual_seed(0))
    assert isinstance(found, dict) and isinstance(plain, dict) and isinstance(detections, list)
    assert {loss.dtype for loss in found.values()} == {torch.float32}
    assert detections[0].boxes.dtype == detections[0].scores.dtype == torch.float32
    for name in NAMES - {"boxes"}:  # the proposals of an untrained network change with the precision
        assert float(found[name].detach()) == pytest.approx(float(plain[name].detach()), rel=0.05, abs=0.02)


@KINDS
def test_the_seed_decides_what_is_sampled(
    kind: type[FasterRCNN | OrientedRCNN], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(region_proposals, "SAMPLES", 16)
    monkeypatch.setattr(box_head, "SAMPLES", 16)
    module, targets = detector(kind).train(), [one_of(kind), none_of(kind)]
    first, same, other = (module(maps(), (64, 64), targets, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert isinstance(first, dict) and isinstance(same, dict) and isinstance(other, dict)
    assert all(torch.equal(first[name], same[name]) for name in NAMES)
    assert any(not torch.equal(first[name], other[name]) for name in NAMES)


@KINDS
def test_detections_do_not_depend_on_the_batch(kind: type[FasterRCNN | OrientedRCNN]) -> None:
    module, images = detector(kind).eval(), maps(3)
    together = module(images, (64, 64))
    alone = module([level[1:2] for level in images], (64, 64))
    assert isinstance(together, list) and isinstance(alone, list)
    assert torch.allclose(together[1].boxes, alone[0].boxes, atol=1e-3)
    assert torch.equal(together[1].labels, alone[0].labels)


def test_horizontal_detections_lie_within_the_image() -> None:
    """The maps cover 64 x 64, the image in them 50 x 60."""
    found = detector(FasterRCNN).eval()(maps(), (50, 60))
    assert isinstance(found, list) and len(found[0].boxes) > 0
    assert bool((found[0].boxes >= 0).all() and (found[0].boxes <= torch.tensor([60, 50, 60, 50])).all())


@KINDS
def test_maps_of_one_stride_are_refused(kind: type[FasterRCNN | OrientedRCNN]) -> None:
    """As multispectral images have them: their anchors would mean nothing."""
    same = [torch.zeros(1, width, 16, 16) for width in WIDTHS]
    with pytest.raises(ValueError, match="strides"):
        detector(kind).eval()(same, (64, 64))


@KINDS
def test_weights_round_trip_from_the_meta_device(kind: type[FasterRCNN | OrientedRCNN], tmp_path: Path) -> None:
    module = detector(kind).eval()
    save_weights(module, tmp_path / "detector.safetensors")
    with torch.device("meta"):
        empty = kind(WIDTHS, 2, 16, 32)
    loaded = load_weights(empty, tmp_path / "detector.safetensors").eval()
    first, second = module(maps(), (64, 64)), loaded(maps(), (64, 64))
    assert all(torch.equal(a.boxes, b.boxes) for a, b in zip(first, second, strict=True))  # type: ignore[union-attr]


class Extractor(nn.Module):
    """Four maps of strides 4 to 32 from one band."""

    def __init__(self) -> None:
        super().__init__()
        inputs, kernels = (1, 8, 8, 8), (4, 2, 2, 2)
        self.reduce = nn.ModuleList(nn.Conv2d(i, 8, k, k) for i, k in zip(inputs, kernels, strict=True))
        self.mix = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in inputs)

    def forward(self, images: Tensor) -> list[Tensor]:
        found, level = [], images
        for reduce, mix in zip(self.reduce, self.mix, strict=True):
            rows, columns = level.shape[-2:]
            level = functional.relu(reduce(functional.pad(level, (0, columns % 2, 0, rows % 2))))
            level = functional.relu(level + mix(level))
            found.append(level)
        return found


SIDE = 72


def scenes(oriented: bool, count: int = 4) -> tuple[Tensor, list[Targets]]:
    """Two bright rectangles on dim noise in each image, the second class twice as bright as the first."""
    generator = torch.Generator().manual_seed(1)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(1, generator=generator)

    images, targets = 0.1 * torch.rand(count, 1, SIDE, SIDE, generator=generator), []
    pixels = torch.arange(SIDE) + 0.5
    for image in images:
        found = []
        for number in range(2):
            x, y = between(18, 20) + 34 * number, between(20, 52)
            width, height = between(24, 30), between(12, 16)
            angle = between(-math.pi / 2, math.pi / 2) if oriented else torch.zeros(1)
            u = (pixels[None] - x) * angle.cos() + (pixels[:, None] - y) * angle.sin()
            v = (pixels[:, None] - y) * angle.cos() - (pixels[None] - x) * angle.sin()
            image[0][(u.abs() <= width / 2) & (v.abs() <= height / 2)] = 0.5 * (1 + number)
            box = torch.cat([x, y, width, height, angle])[None]
            found.append(box if oriented else rotated.enclosing(box))
        targets.append(Targets(torch.cat(found), torch.tensor([0, 1])))
    return images, targets


def recall(found: list[Detections], targets: list[Targets], oriented: bool) -> float:
    """Share of targets that a detection of their class and of at least even chance overlaps by half or more."""
    overlaps = rotated.overlaps if oriented else boxes.overlaps
    hits, total = 0, 0
    for each, target in zip(found, targets, strict=True):
        for box, label in zip(target.boxes, target.labels, strict=True):
            sure = each.boxes[(each.labels == label) & (each.scores >= 0.5)]
            hits += bool((overlaps(box[None], sure) >= 0.5).any())
            total += 1
    return hits / total


@pytest.mark.slow
@KINDS
def test_learns_its_training_images(kind: type[FasterRCNN | OrientedRCNN], monkeypatch: pytest.MonkeyPatch) -> None:
    # The images are small; so are the numbers of boxes.
    monkeypatch.setattr(box_head, "SAMPLES", 64)
    monkeypatch.setattr(region_proposals, "BEFORE_SUPPRESSION", 300)
    monkeypatch.setattr(region_proposals, "PROPOSALS", 150)
    oriented = kind is OrientedRCNN
    images, targets = scenes(oriented)
    module, extractor = detector(kind, hidden=64), Extractor()
    parameters = [*module.parameters(), *extractor.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.0)
    generator = torch.Generator().manual_seed(2)

    def score() -> float:
        with torch.no_grad():
            found = module.eval()(extractor(images), (SIDE, SIDE))
        assert isinstance(found, list)
        return recall(found, targets, oriented)

    assert score() < 0.2
    for _ in range(100):
        losses = module.train()(extractor(images), (SIDE, SIDE), targets, generator)
        assert isinstance(losses, dict)
        optimizer.zero_grad()
        sum(losses.values(), torch.zeros(())).backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
    assert score() >= 0.8
