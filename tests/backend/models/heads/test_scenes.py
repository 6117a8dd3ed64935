"""Heads for scenes, and probes of scenes and pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from backend.models.heads import build, names
from backend.models.heads.classify import SceneClassifier, scene_probabilities
from backend.models.heads.probes import LinearProbe, NearestNeighbours, PrototypeProbe, by_row

GOLDEN = Path(__file__).resolve().parents[5] / "shared" / "golden" / "smarties_small.npz"


def samples(count: int, width: int = 8, classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features around a direction per class, and labels."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(classes, (count,), generator=generator)
    spread = torch.randn(count, width, generator=generator)
    scale = 0.1 + 5 * torch.rand(count, 1, generator=generator)  # lengths that a cosine must not see
    return (directions[labels] + spread) * scale, labels


def test_scene_classifier_takes_a_feature_or_the_mean_of_a_map() -> None:
    head = SceneClassifier(6, 3, std=0.5)
    maps = torch.randn(2, 6, 5, 4)
    torch.testing.assert_close(head(maps), head(maps.mean(dim=(2, 3))))
    assert set(head.state_dict()) == {"weight", "bias"}


def test_fine_tuning_starts_with_even_scores() -> None:
    head = build("scene-classifier", seed=0, channels=768, classes=45)
    assert float(head.weight.detach().std()) == pytest.approx(2e-5, rel=0.05)
    assert float(head.bias.abs().max()) == 0.0
    assert float(build("scene-classifier", seed=0, channels=768, classes=45, std=0.02).weight.std()) > 0.01


def test_probabilities_with_one_and_with_several_labels() -> None:
    logits = torch.tensor([[0.0, 1.0, -2.0]], dtype=torch.bfloat16)
    one, several = scene_probabilities(logits, several=False), scene_probabilities(logits, several=True)
    assert one.sum().item() == pytest.approx(1.0, abs=1e-6)
    assert several[0].tolist() == pytest.approx([0.5, 0.731059, 0.119203], abs=1e-5)


def test_linear_probe_has_the_published_names_and_start() -> None:
    model = nn.Module()
    model.head = build("linear-probe", seed=0, channels=768, classes=19)
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == {
        "head.0.running_mean": (768,),
        "head.0.running_var": (768,),
        "head.0.num_batches_tracked": (),
        "head.1.weight": (19, 768),
        "head.1.bias": (19,),
    }
    assert (model.head[0].eps, model.head[0].affine) == (1e-6, False)
    assert float(model.head[1].weight.std()) == pytest.approx(0.01, rel=0.05)


def test_linear_probe_standardises_and_then_weighs() -> None:
    probe = LinearProbe(8, 4).train()
    features, _ = samples(64)
    standard = (features - features.mean(dim=0)) / (features.var(dim=0, unbiased=False) + 1e-6).sqrt()
    expected = standard @ probe[1].weight.T + probe[1].bias
    torch.testing.assert_close(probe(features), expected, atol=1e-5, rtol=1e-4)
    probe.eval()
    torch.testing.assert_close(probe[0].running_mean, 0.1 * features.mean(dim=0))
    torch.testing.assert_close(probe(features[:1]), probe(features)[:1])


def test_linear_probe_of_pixels_in_training_standardises_over_all_of_them() -> None:
    probe = LinearProbe(8, 4).train()
    maps = torch.randn(2, 8, 5, 3)
    rows = maps.permute(0, 2, 3, 1).reshape(-1, 8)
    expected = probe(rows).reshape(2, 5, 3, 4).permute(0, 3, 1, 2)
    torch.testing.assert_close(probe(maps), expected)


@pytest.mark.skipif(not GOLDEN.exists(), reason="no shared/golden beside the repository")
def test_nearest_neighbours_reach_the_published_accuracy(record_property: pytest.RecordProperty) -> None:
    golden = np.load(GOLDEN)
    train, test = (torch.from_numpy(golden[f"knn/{part}_feature"]) for part in ("train", "test"))
    train_label, test_label = (torch.from_numpy(golden[f"knn/{part}_label"]) for part in ("train", "test"))
    probe = NearestNeighbours(train.shape[1], int(train_label.max()) + 1)
    probe.learn(train, train_label)
    accuracy = 100 * float((probe(test).argmax(dim=1) == test_label).float().mean())
    record_property("top1_percent", accuracy)
    assert accuracy == pytest.approx(float(golden["knn/top1_percent"]), abs=1e-4)


@pytest.mark.parametrize("neighbours", [1, 5, 20])
def test_votes_agree_with_scikit_learn(neighbours: int) -> None:
    (features, labels), (queries, _) = samples(120), samples(50, seed=1)
    reference = KNeighborsClassifier(neighbours, weights=lambda d: np.exp((1 - d) / 0.07), metric="cosine")
    reference.fit(features.double().numpy(), labels.numpy())
    probe = NearestNeighbours(8, 4, neighbours=neighbours)
    probe.learn(features, labels)
    expected = torch.from_numpy(reference.predict_proba(queries.double().numpy())).float()
    torch.testing.assert_close(probe(queries), expected, atol=1e-5, rtol=1e-4)


def test_fewer_samples_than_neighbours_all_vote() -> None:
    probe = NearestNeighbours(2, 3)
    probe.learn(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([2, 0]))
    shares = probe(torch.tensor([[5.0, 0.0]]))
    assert shares[0].tolist() == pytest.approx([1 / (1 + np.exp(1 / 0.07)), 0.0, 1 / (1 + np.exp(-1 / 0.07))])


def test_prototypes_agree_with_scikit_learn() -> None:
    (features, labels), (queries, answers) = samples(120), samples(80, seed=1)
    probe = PrototypeProbe(8, 4)
    probe.learn(features, labels)
    units = (features / features.norm(dim=1, keepdim=True)).numpy()
    means = np.stack([units[labels.numpy() == k].mean(axis=0) for k in range(4)])
    expected = torch.from_numpy(cosine_similarity(queries.numpy(), means) / 0.07)
    torch.testing.assert_close(probe(queries), expected, atol=1e-4, rtol=1e-4)
    assert float((probe(queries).argmax(dim=1) == answers).float().mean()) > 0.8


def test_a_class_without_samples_is_never_found() -> None:
    probe = PrototypeProbe(2, 3)
    probe.learn(torch.tensor([[1.0, 0.2], [0.8, 1.0]]), torch.tensor([0, 2]))
    # Away from both prototypes, where a cosine of 0 would win.
    assert 1 not in probe(torch.tensor([[-1.0, -0.9], [-0.2, 0.1]])).argmax(dim=1)


@pytest.mark.parametrize("probe", [PrototypeProbe(8, 4), NearestNeighbours(8, 4)], ids=["prototypes", "neighbours"])
def test_labels_that_are_no_class_are_left_out(probe: PrototypeProbe | NearestNeighbours) -> None:
    features, labels = samples(60)
    queries, _ = samples(20, seed=1)
    probe.learn(features, labels)
    expected = probe(queries)
    ignored = torch.cat([labels, torch.tensor([-1, 255, 4])])
    probe.learn(torch.cat([features, torch.randn(3, 8)]), ignored)
    torch.testing.assert_close(probe(queries), expected)
    with pytest.raises(ValueError, match="no sample has a class"):
        probe.learn(features, torch.full((60,), 255))


@pytest.mark.parametrize("name", names("probe"))
def test_pixels_score_as_scenes_do(name: str) -> None:
    probe = build(name, seed=0, channels=8, classes=4)
    features, labels = samples(60)
    if isinstance(probe, LinearProbe):
        probe.train()(features)
    else:
        probe.learn(features, labels)
    maps = torch.randn(2, 8, 3, 5)
    scores = probe.eval()(maps)
    assert scores.shape == (2, 4, 3, 5)
    for row in range(3):
        for column in range(5):
            alone = probe(maps[:, :, row, column])
            torch.testing.assert_close(scores[:, :, row, column], alone, atol=1e-5, rtol=1e-5)


@settings(deadline=None, max_examples=30)
@given(
    batch=st.integers(1, 3),
    sides=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    part=st.none() | st.integers(1, 80),
)
def test_parts_do_not_change_the_result(batch: int, sides: tuple[int, int], part: int | None) -> None:
    maps = torch.arange(batch * 2 * sides[0] * sides[1], dtype=torch.float32).reshape(batch, 2, *sides)
    sizes = []

    def score(rows: torch.Tensor) -> torch.Tensor:
        sizes.append(len(rows))
        return torch.stack([rows[:, 0], rows[:, 1], rows.sum(dim=1)], dim=1)

    expected = torch.cat([maps, maps.sum(dim=1, keepdim=True)], dim=1)
    assert torch.equal(by_row(score, maps, part), expected)
    assert part is None or max(sizes) <= part
