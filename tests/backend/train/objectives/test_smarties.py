"""SMARTIES' objective on a miniature network: what is drawn belongs to the sample, and it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from backend.models.encoders.smarties_pretraining import SmartiesPretraining
from backend.models.encoders.smarties_spectrum import band_sets
from backend.models.load import initialise
from backend.train.objectives.objective import Progress
from backend.train.objectives.smarties import PairBatch, Pairs, SmartiesObjective

START = Progress(0, 100)


def objective(**changes: Any) -> SmartiesObjective:
    with torch.device("meta"):
        network = SmartiesPretraining(
            width=32, depth=2, heads=2, image_size=64, decoder_width=32, decoder_depth=1, decoder_heads=2
        )
    return SmartiesObjective(initialise(network, seed=0), **changes)  # type: ignore[arg-type]


def pairs(count: int = 4, kinds: tuple[str, str] = ("S2", "S1"), first: int = 0) -> Pairs:
    ranges = (band_sets()[kinds[0]], band_sets()[kinds[1]])
    images = []
    for keys in ranges:
        seeds = (torch.Generator().manual_seed(100 * len(keys) + first + n) for n in range(count))
        images.append(torch.stack([torch.randn(len(keys), 64, 64, generator=seed) for seed in seeds]))
    return Pairs(images[0], images[1], ranges, tuple(f"place {first + n}" for n in range(count)))


def test_both_streams_and_the_number_of_pairs_are_told() -> None:
    found = objective()(PairBatch((pairs(3), pairs(1, ("RGB", "S2")))), START)
    assert found.total.isfinite() and found.total > 0
    assert float((found.parts["first"] + found.parts["second"]) / 2) == pytest.approx(found.total.item(), rel=1e-5)
    assert found.counts == {"samples": 4, "pairs of 12 and 2 bands": 3, "pairs of 3 and 12 bands": 1}


def test_the_loss_of_a_batch_is_the_mean_of_its_parts_whoever_computes_them() -> None:
    trained = objective()
    whole = trained(PairBatch((pairs(4),)), START).total
    halves = [trained(PairBatch((pairs(2, first=first),)), START).total for first in (0, 2)]
    torch.testing.assert_close(sum(halves) / 2, whole, rtol=1e-5, atol=1e-6)


def test_what_is_drawn_changes_from_step_to_step_and_with_the_seed() -> None:
    trained, batch = objective(), PairBatch((pairs(2),))
    first = trained(batch, START).total.item()
    assert first == trained(batch, START).total.item()
    assert first != trained(batch, Progress(1, 100)).total.item()
    assert first != objective(seed=7)(batch, START).total.item()


def test_switches() -> None:
    batch = PairBatch((pairs(2),))
    totals = [
        objective(**changes)(batch, START).total.item()
        for changes in ({}, {"mirror": False}, {"mixup": False}, {"normalise": False})
    ]
    assert len(set(totals)) == 4


def test_without_mixup_either_stream_is_its_own_image() -> None:
    plain = objective(mixup=False)
    one = pairs(1)
    other = one._replace(second=torch.randn_like(one.second))
    kept, changed = (plain(PairBatch((p,)), START) for p in (one, other))
    assert float(kept.parts["first"]) == float(changed.parts["first"])
    assert float(kept.parts["second"]) != float(changed.parts["second"])


def test_every_part_learns_and_the_loss_falls() -> None:
    trained, batch = objective(), PairBatch((pairs(4), pairs(4, ("RGB", "S2"), 10)))
    optimiser = torch.optim.AdamW(trained.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        found = trained(batch, START)
        found.total.backward()
        optimiser.step()
        losses.append(float(found.total.detach()))
    assert losses[-1] < 0.8 * losses[0]
    trainable = [(name, p) for name, p in trained.named_parameters() if p.requires_grad]
    unseen = [name for name, p in trainable if p.grad is None or not p.grad.any()]
    assert all("spectrum_embeds" in name or "decoder_preds" in name for name in unseen)  # of bands that were not there
    assert not {"network.pos_embed", "network.decoder_pos_embed"} & {name for name, _ in trainable}


def test_reduced_precision_gives_finite_losses() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = objective()(PairBatch((pairs(2),)), START)
    assert found.total.isfinite() and found.total.dtype == torch.float32
