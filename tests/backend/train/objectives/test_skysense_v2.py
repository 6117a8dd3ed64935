"""SkySense V2's objective on a miniature network."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from backend.protocol.errors import ParameterError
from backend.train.objectives.aggregation import QueryDecoder
from backend.train.objectives.contrast import contrast, targets
from backend.train.objectives.objective import Progress
from backend.train.objectives.skysense_v2 import SkySenseConfig, SkySenseObjective
from backend.train.objectives.text import TextAlignment, read_embeddings
from tests.backend.models.encoders.skysense import small
from tests.backend.train.objectives.views import batch

START = Progress(0, 100)
EARLIER = re.compile(r"backbone\.norms\.[012]\.")  # of maps that only heads look at
CONFIG = SkySenseConfig(outputs=32, hidden=32, queries=4, query_heads=2, held_share=0.0)
TINY: dict[str, Any] = {"depths": (1, 1, 1, 1), "experts": 2, "expert_blocks": 1, "fusion_layers": 1}


def objective(
    text: TextAlignment | None = None, switches: dict[str, Any] | None = None, **changes: Any
) -> SkySenseObjective:
    torch.manual_seed(0)
    return SkySenseObjective(small(**{**TINY, **(switches or {})}), replace(CONFIG, **changes), text).train()


def test_all_terms_are_told_and_what_was_seen() -> None:
    text = TextAlignment(32, 3)
    found = objective(text, alignment=0.1)(batch(classes=3), START)
    assert set(found.parts) == {"pixel", "object", "image", "fused", "query", "text", "alignment", "balance"}
    assert found.total.isfinite() and all(part.isfinite() and not part.requires_grad for part in found.parts.values())
    assert found.counts == {"samples": 2, "several_modalities": 2, "several_dates": 1}
    weighted = sum(found.parts[name] for name in ("pixel", "object", "image", "fused", "query"))
    weighted = weighted + 0.5 * found.parts["text"] + 0.1 * found.parts["alignment"] + 0.01 * found.parts["balance"]
    torch.testing.assert_close(found.total.detach(), weighted, rtol=1e-5, atol=1e-5)


def test_gradients_reach_all_of_the_student_and_nothing_of_the_teacher() -> None:
    trained = objective(TextAlignment(32, 3))
    trained(batch(classes=3), START).total.backward()
    for name, parameter in trained.named_parameters():
        if name.startswith("teacher"):
            assert parameter.grad is None and not parameter.requires_grad, name
        elif not EARLIER.search(name):
            assert parameter.grad is not None, name


def test_the_same_seed_gives_the_same_loss_and_another_step_another() -> None:
    first, second = (objective().eval()(batch(), START).total for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, objective().eval()(batch(), Progress(1, 100)).total)


@pytest.mark.parametrize(
    "modalities",
    [{"ms": [0, 1]}, {"hr": [0], "ms": [0, 1]}, {"hr": [1], "sar": [0]}],
    ids=["one modality", "one sample lacks one", "no sample has two"],
)
def test_samples_may_lack_modalities(modalities: dict[str, list[int]]) -> None:
    found = objective()(batch(modalities=modalities), START)
    assert found.total.isfinite()
    several = len(set.intersection(*map(set, modalities.values()))) if len(modalities) > 1 else 0
    assert found.counts["several_modalities"] == several


@pytest.mark.parametrize(
    ("switches", "changes"),
    [
        ({"experts": 0}, {}),
        ({"prompts": False}, {}),
        ({"context": {"count": 8, "size": 16}}, {}),
        ({}, {"queries": 0}),
    ],
    ids=["no experts", "no prompts", "geo-context", "no queries"],
)
def test_switches_of_the_ablations_train(switches: dict[str, Any], changes: dict[str, Any]) -> None:
    trained = objective(switches=switches, **changes)
    optimiser = torch.optim.AdamW([p for p in trained.parameters() if p.requires_grad], lr=1e-3)
    before = None
    if trained.student.encoder.context is not None:
        before = trained.student.encoder.context.prototypes.clone()
    found = trained(batch(), START)
    found.total.backward()
    optimiser.step()
    trained.after_step(START)
    assert found.total.isfinite() and ("query" in found.parts) == (changes.get("queries") != 0)
    assert ("balance" in found.parts) == (switches.get("experts") != 0)
    if before is not None:
        assert not torch.equal(before, trained.student.encoder.context.prototypes)  # type: ignore[union-attr]


def test_the_loss_falls_on_one_batch_and_the_teacher_follows() -> None:
    trained, seen = objective(), batch()
    old = {name: parameter.clone() for name, parameter in trained.exported().named_parameters()}
    optimiser = torch.optim.AdamW([p for p in trained.parameters() if p.requires_grad], lr=2e-3)
    losses = []
    for step in range(12):
        optimiser.zero_grad()
        found = trained(seen, START)
        found.total.backward()
        optimiser.step()
        trained.after_step(Progress(step, 100))
        losses.append(found.total.item())
    assert losses[-1] < 0.9 * losses[0]
    new = dict(trained.exported().named_parameters())
    still = {name for name in old if torch.equal(old[name], new[name]) and not EARLIER.search(name)}
    assert not still
    assert all(centre.centre.abs().sum() > 0 for centre in trained.centres.values())  # type: ignore[union-attr, operator]


def test_reduced_precision_gives_finite_losses() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = objective()(batch(), START)
    assert found.total.isfinite() and found.total.dtype == torch.float32


def test_last_layers_are_held_at_the_begin_and_tokens_do_not_decay() -> None:
    trained = objective(held_share=0.1)
    names = [name for name, _ in trained.named_parameters()]
    held = [name for name in names if trained.held(name, START)]
    assert held and all(name.endswith(".last") for name in held)
    assert not any(trained.held(name, Progress(10, 100)) for name in names)
    assert any(trained.undecayed(name) for name in names if "prompt" in name)


def test_the_queries_are_symmetric_where_both_sets_and_both_networks_are_the_same() -> None:
    """skysense-v2.md, 16.9."""
    decoder = QueryDecoder(16, 4, 2).eval()
    tokens = torch.randn(2, 9, 16)
    found = decoder(tokens)
    assert found.shape == (2, 4, 16)
    wanted = targets(found, torch.zeros(16), 0.05)
    torch.testing.assert_close(contrast(found, wanted), contrast(decoder(tokens), wanted))
    torch.testing.assert_close(decoder(tokens.flip(1)), found, atol=1e-5, rtol=1e-5)  # a set has no order


def test_words_come_from_a_file_and_stay(tmp_path: Path) -> None:
    save_file({"embeddings": torch.eye(3, 5)}, tmp_path / "words.safetensors")
    words = read_embeddings(tmp_path / "words.safetensors")
    text = TextAlignment(32, 3, words)
    assert not text.words.requires_grad and torch.equal(text.words, words)
    found = objective(text)(batch(classes=3), START)
    assert found.parts["text"] > 0
    save_file({"other": torch.eye(3)}, tmp_path / "wrong.safetensors")
    with pytest.raises(ParameterError, match="holds no text embeddings"):
        read_embeddings(tmp_path / "wrong.safetensors")


def test_text_looks_at_the_classes_of_the_crops_ground() -> None:
    """A class that fills the crop and a table that knows it: almost no loss; no class anywhere: none."""
    seen = batch(1, {"ms": [0]}, classes=2)
    text = TextAlignment(2, 2)
    with torch.no_grad():
        text.words.copy_(torch.eye(2))
        text.project.weight.copy_(torch.eye(2))
        text.project.bias.zero_()
    first = torch.zeros(1, 2, 16, 16, dtype=torch.bool)
    first[:, 0] = True
    fused = torch.tensor([1.0, 0.0])[None, :, None, None].expand(1, 2, 4, 4)
    assert text(fused, seen.student[0], first) < 1e-5
    assert text(fused.flip(1), seen.student[0], first) > 10
    assert text(fused, seen.student[0], torch.zeros_like(first)) == 0
