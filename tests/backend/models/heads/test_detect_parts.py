"""Parts of the detectors: pyramid, anchors, matching, sampling, codes and losses against their definitions."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from backend.models.heads.anchors import anchor_grid
from backend.models.heads.box_head import BoxHead, Samples
from backend.models.heads.detection import Targets
from backend.models.heads.faster_rcnn import FasterRCNN, Horizontal
from backend.models.heads.feature_pyramid import FeaturePyramid, pyramid_level
from backend.models.heads.matching import BACKGROUND, IGNORED, match, sample
from backend.models.heads.oriented_rcnn import Oriented
from backend.models.heads.region_proposals import RegionProposals
from backend.models.load import initialise
from backend.models.ops import boxes, rotated

WIDTHS = (4, 6, 8, 10)
SIZES = ((16, 24), (8, 12), (4, 6), (2, 3))


def maps(batch: int = 2, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, width, *size, generator=generator) for width, size in zip(WIDTHS, SIZES, strict=True)]


def test_pyramid_shapes_and_the_level_on_top() -> None:
    levels = FeaturePyramid(WIDTHS, 8)(*maps())
    assert [tuple(level.shape) for level in levels] == [(2, 8, *size) for size in (*SIZES, (1, 2))]
    assert torch.equal(levels[4], levels[3][:, :, ::2, ::2])


def test_pyramid_adds_coarser_levels_to_finer_ones_and_not_the_other_way() -> None:
    pyramid, before = FeaturePyramid(WIDTHS, 8), maps()
    changed = [*before[:2], before[2] + 1, before[3]]
    same = [torch.equal(a, b) for a, b in zip(pyramid(*before), pyramid(*changed), strict=True)]
    assert same == [False, False, False, True, True]


def test_pyramid_takes_odd_sizes() -> None:
    sizes = ((13, 11), (7, 6), (4, 3), (2, 2))
    levels = FeaturePyramid(WIDTHS, 8)(*[torch.zeros(1, w, *s) for w, s in zip(WIDTHS, sizes, strict=True)])
    assert [tuple(level.shape[2:]) for level in levels] == [*sizes, (1, 1)]


def test_published_size_of_the_pyramid() -> None:
    """Lin et al. 2017 with a ResNet-50: 256 (256 + 512 + 1024 + 2048) + 4 * 9 * 256² weights and 8 * 256 biases."""
    with torch.device("meta"):
        pyramid = FeaturePyramid((256, 512, 1024, 2048))
    assert sum(parameter.numel() for parameter in pyramid.parameters()) == 3_344_384


@pytest.mark.parametrize(
    ("side", "level"), [(0, 0), (1, 0), (111, 0), (112, 1), (223, 1), (224, 2), (447, 2), (448, 3), (5000, 3)]
)
def test_levels_double_with_the_side(side: float, level: int) -> None:
    """Lin et al. 2017, equation 1: 224 px on the map of stride 16, the third of ours."""
    assert pyramid_level(torch.tensor([side**2.0]), 4, 4).tolist() == [level]


def test_anchors() -> None:
    found = boxes.to_centres(anchor_grid(2, 3, 16)).reshape(2, 3, 3, 4)
    assert torch.allclose(found[1, 2, :, :2], torch.tensor([40.0, 24.0]))
    assert torch.allclose(found[..., 2] * found[..., 3], torch.tensor(128.0**2))
    assert (found[0, 0, :, 3] / found[0, 0, :, 2]).tolist() == pytest.approx([0.5, 1, 2])


def by_rules(overlaps: list[list[float]], positive: float, negative: float, rescue: bool) -> list[int]:
    """Ren et al. 2015, section 3.1.2, reference by reference."""
    found = []
    for row in overlaps:
        best = max(row, default=0.0)
        found.append(row.index(best) if row and best >= positive else BACKGROUND if best < negative else IGNORED)
    for target in range(len(overlaps[0])) if rescue and overlaps else ():
        most = max(row[target] for row in overlaps)
        for reference, row in enumerate(overlaps):
            first = all(row[t] < max(r[t] for r in overlaps) or row[t] == 0 for t in range(target))
            if most > 0 and row[target] == most and first:
                found[reference] = target
    return found


@given(st.integers(1, 12), st.integers(0, 150), st.booleans(), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_matching_by_rules(references: int, targets: int, rescue: bool, seed: int) -> None:
    """Overlaps have few values, so ties are common; more targets than are compared at once."""
    table = torch.randint(11, (references, targets), generator=torch.Generator().manual_seed(seed)) / 10

    def overlaps(first: Tensor, second: Tensor) -> Tensor:
        return table[first[:, 0].long()][:, second[:, 0].long()]

    rows, columns = torch.arange(references)[:, None].float(), torch.arange(targets)[:, None].float()
    found = match(rows, columns, overlaps, 0.7, 0.3, rescue)
    assert found.tolist() == by_rules(
        table.tolist(), table.new_tensor(0.7).item(), table.new_tensor(0.3).item(), rescue
    )


def test_sampling_keeps_the_share_fills_up_and_follows_the_seed() -> None:
    matched = torch.tensor([0, 1, 2, 3] * 50 + [BACKGROUND] * 400 + [IGNORED] * 50)
    positives, others = sample(matched, 100, 0.25, torch.Generator().manual_seed(0))
    assert len(positives) == 25 and len(others) == 75
    assert bool((matched[positives] >= 0).all() and (matched[others] == BACKGROUND).all())
    assert len(set(positives.tolist())) == 25 and len(set(others.tolist())) == 75
    again = sample(matched, 100, 0.25, torch.Generator().manual_seed(0))
    other = sample(matched, 100, 0.25, torch.Generator().manual_seed(1))
    assert torch.equal(positives, again[0]) and torch.equal(others, again[1]) and not torch.equal(others, other[1])
    few = sample(torch.tensor([0, BACKGROUND, IGNORED]), 100, 0.5)
    assert few[0].tolist() == [0] and few[1].tolist() == [1]
    assert [len(part) for part in sample(torch.full((900,), BACKGROUND), 100, 0.5)] == [0, 100]


def test_targets_are_checked() -> None:
    with pytest.raises(ValueError, match="N x D"):
        Targets(torch.zeros(3, 4), torch.zeros(2, dtype=torch.int64))


def answers(form: Horizontal | Oriented, anchors: list[Tensor], target: Targets) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs of region proposals that know the answer."""
    references = torch.cat(anchors)
    matched = match(references, form.enclosing(target.boxes), boxes.overlaps, 0.7, 0.3, rescue=True)
    logits = torch.where(matched >= 0, 20.0, -20.0)[None]
    codes = form.encode_proposals(target.boxes[matched.clamp(min=0)], references)[None]
    counts = [len(level) for level in anchors]
    return list(logits.split(counts, dim=1)), list(codes.split(counts, dim=1))


TARGETS = {
    "horizontal": torch.tensor([[10.0, 12, 44, 40], [30, 2, 60, 30], [0, 0, 64, 64]]),
    "oriented": torch.tensor([[27.0, 26, 34, 18, 0.5], [45, 16, 30, 20, -1.2], [32, 32, 64, 50, math.pi / 2]]),
}


@pytest.mark.parametrize("form", [Horizontal(), Oriented()], ids=["horizontal", "oriented"])
def test_proposals_that_know_the_answer(form: Horizontal | Oriented) -> None:
    name = "horizontal" if form.size == 4 else "oriented"
    target = Targets(TARGETS[name], torch.tensor([0, 1, 0]))
    anchors = [anchor_grid(16, 16, 4), anchor_grid(8, 8, 8)]
    logits, codes = answers(form, anchors, target)
    proposals = RegionProposals(4, form)
    losses = proposals.losses(logits, codes, anchors, [target], torch.Generator().manual_seed(0))
    assert [float(losses[name].detach()) for name in losses] == pytest.approx([0, 0], abs=1e-5)
    found = proposals.propose(logits, codes, anchors, (64, 64))[0]
    assert bool((form.overlaps(target.boxes, found).amax(dim=1) > 0.99).all())
    assert len(found) > 3


def test_proposal_losses_by_hand() -> None:
    """One anchor that must be positive, seven that cannot: plain formulas over eight samples."""
    anchors = [torch.tensor([[0.0, 0, 10, 10]] + [[50.0, 50, 60, 60]] * 7)]
    logits, codes = torch.linspace(-1, 1, 8)[None], torch.full((1, 8, 4), 0.5)
    target = Targets(torch.tensor([[1.0, 0, 11, 10]]), torch.tensor([0]))
    found = RegionProposals(4, Horizontal()).losses([logits], [codes], anchors, [target])
    truth = torch.tensor([1.0] + [0.0] * 7)
    assert float(found["proposal_objectness"]) == pytest.approx(
        float(functional.binary_cross_entropy_with_logits(logits[0], truth))
    )
    assert float(found["proposal_boxes"]) == pytest.approx((0.4 + 3 * 0.5) / 8)


def test_box_losses_by_hand() -> None:
    head = BoxHead(2, 3, Horizontal(), 8)
    logits, codes = torch.arange(8.0).reshape(2, 4), torch.zeros(2, 3, 4)
    codes[0, 1] = torch.tensor([1.0, 1, 0, 0])
    codes[0, 2] = 99  # of a class that the box does not have
    reference = torch.tensor([[0.0, 0, 10, 10], [40, 40, 50, 50]])
    samples = [Samples(reference, torch.tensor([1, 3]), torch.tensor([[1.0, 0, 11, 10]]))]
    found = head.losses(logits, codes, samples)
    assert float(found["boxes"]) == pytest.approx(0.5)  # |1 - 1| + |1 - 0|, over two samples
    assert float(found["box_classes"]) == pytest.approx(float(functional.cross_entropy(logits, torch.tensor([1, 3]))))


def test_targets_are_among_the_samples_and_labels_follow_overlap() -> None:
    head = BoxHead(2, 3, Horizontal(), 8)
    target = Targets(torch.tensor([[0.0, 0, 10, 10], [20, 20, 40, 40]]), torch.tensor([2, 0]))
    proposals = torch.tensor([[0.0, 0, 10, 6], [0, 0, 10, 4.9], [20, 21, 40, 40], [100, 100, 120, 130]])
    found = head.choose(proposals, target)
    assert found.labels.tolist() == [2, 0, 2, 0, 3, 3]
    assert found.boxes[2:4].tolist() == target.boxes.tolist()
    assert torch.equal(found.wanted, target.boxes[[0, 1, 0, 1]])


def test_detections_keep_classes_apart_drop_doubles_and_obey_the_limits() -> None:
    head = BoxHead(2, 2, Horizontal(), 8)
    proposals = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10.5], [30, 30, 40, 40]])
    chances = torch.tensor([[0.6, 0.3, 0.1], [0.5, 0.45, 0.05], [0.04, 0.03, 0.93]])
    found = head.detect(chances.log(), torch.zeros(3, 2, 4), proposals, (64, 64))
    assert found.labels.tolist() == [0, 1]
    assert found.scores.tolist() == pytest.approx([0.6, 0.45])
    assert found.boxes.tolist() == proposals[[0, 1]].tolist()
    apart = torch.arange(300.0)[:, None] * 10 + torch.tensor([0.0, 0, 9, 9])
    many = head.detect(torch.zeros(300, 3), torch.zeros(300, 2, 4), apart, (4000, 4000))
    assert len(many.boxes) == 100


class Dense(nn.Module):
    """The part of a detector that has fixed shapes: pyramid and proposal outputs."""

    def __init__(self, detector: FasterRCNN) -> None:
        super().__init__()
        self.pyramid, self.proposals = detector.pyramid, detector.proposals

    def forward(self, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        logits, codes = self.proposals(*self.pyramid(a, b, c, d))
        return torch.cat(logits, dim=1), torch.cat(codes, dim=1)


def test_the_dense_part_exports_with_a_dynamic_batch(tmp_path: Path) -> None:
    with torch.device("meta"):
        detector = FasterRCNN(WIDTHS, 3, 8, 16)
    initialise(detector, seed=0)
    module, batch = Dense(detector).eval(), torch.export.Dim("batch")
    names = ["a", "b", "c", "d"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecated calls
        torch.onnx.export(
            module,
            tuple(maps(2)),
            str(tmp_path / "dense.onnx"),
            dynamo=True,
            input_names=names,
            dynamic_shapes=tuple({0: batch} for _ in names),
            verbose=False,
        )
    session = onnxruntime.InferenceSession(tmp_path / "dense.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 3):
        inputs = maps(count, seed=count)
        with torch.no_grad():
            expected = module(*inputs)
        feeds = {name: level.numpy() for name, level in zip(names, inputs, strict=True)}
        for got, wanted in zip(session.run(None, feeds), expected, strict=True):
            np.testing.assert_allclose(got, wanted.numpy(), atol=1e-5)


def test_oriented_targets_of_one_box_in_two_conventions_cost_the_same() -> None:
    form = Oriented()
    anchors = torch.tensor([[0.0, 0, 32, 32]])
    box = torch.tensor([[16.0, 16, 20, 8, 0.4]])
    other = torch.tensor([[16.0, 16, 8, 20, 0.4 + math.pi / 2]])
    assert torch.allclose(form.encode_proposals(box, anchors), form.encode_proposals(other, anchors), atol=1e-5)
    reference = rotated.long_edge(torch.tensor([[15.0, 17, 22, 9, 0.3]]))
    assert torch.allclose(form.encode(box, reference), form.encode(other, reference), atol=1e-5)
