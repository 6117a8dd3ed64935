"""Pre-training of SkySense V2 (skysense-v2.md, 10); the teacher's encoder is what remains."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from backend.models import encoders
from backend.models.encoders.skysense_v2 import SkySenseV2
from backend.models.load import save_tensors
from backend.protocol.errors import ParameterError
from backend.train.data.crops import CropConfig
from backend.train.data.kit_samples import kit_samples
from backend.train.data.shards import ShardSet, write_shards
from backend.train.data.stream import ShardViews
from backend.train.objectives.skysense_v2 import SkySenseConfig, SkySenseObjective
from backend.train.objectives.text import TextAlignment, read_embeddings
from backend.train.optim.schedules import OptimConfig
from backend.train.parallel.processes import Processes, processes
from backend.train.parallel.spread import released
from backend.train.trainer import TrainerConfig, train

WEIGHTS, SHARDS = "weights.safetensors", "shards"
WITH_CLASSES = "write shards with --classes, or leave the embeddings out"
PUBLISHED_BATCH, PUBLISHED_RATE, LAST_RATE = 1024, 2e-4, 1e-6  # section 10.6
SMALL_BATCH, SMALL_HELD = 64, 0.01
PUBLISHED_STEPS, PUBLISHED_WARM_UP = 600_000, 10_000
# For runs on a processor: crops of half the side, narrow heads, few samples in a batch, and a higher rate.
TINY_BATCH, TINY_RATE, TINY_HIDDEN = 8, 5e-4, 512
TINY_GLOBAL_PX = {"hr": 128, "ms": 16, "sar": 16}
TINY_LOCAL_PX = {"hr": 64, "ms": 8, "sar": 8}


@dataclass(frozen=True)
class Pretraining:
    """What a run is made of.

    Attributes:
        data: folder of shards, or the data kit, of which shards are then written into the run folder.
        output: the run folder.
        member: "tiny", "small", "base" or "full".
        batch: samples of a global batch.
        seed: of initial weights, order and crops.
        text_embeddings: safetensors file with a row for each map class; without it a table is learned.
        trainer, objective, crops: see there.
    """

    data: Path
    output: Path
    member: str
    batch: int = SMALL_BATCH
    seed: int = 42
    text_embeddings: Path | None = None
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    objective: SkySenseConfig = field(default_factory=SkySenseConfig)
    crops: CropConfig = field(default_factory=CropConfig)


def pretrain_skysense_v2_tiny(data: Path, output: Path) -> Pretraining:
    """Pre-train SkySense V2 tiny, small enough for a processor."""
    recipe = _small(data, output, "tiny", SkySenseConfig(2048, TINY_HIDDEN, queries=8, query_heads=4))
    optim = replace(recipe.trainer.optim, rate=TINY_RATE)
    crops = CropConfig(global_px=TINY_GLOBAL_PX, local_px=TINY_LOCAL_PX)
    return replace(recipe, batch=TINY_BATCH, crops=crops, trainer=replace(recipe.trainer, optim=optim))


def pretrain_skysense_v2_small(data: Path, output: Path) -> Pretraining:
    """Pre-train SkySense V2 small."""
    return _small(data, output, "small", SkySenseConfig(8192, query_heads=8))


def pretrain_skysense_v2_base(data: Path, output: Path) -> Pretraining:
    """Pre-train SkySense V2 base."""
    return _small(data, output, "base", SkySenseConfig(8192))


def pretrain_skysense_v2_full(data: Path, output: Path) -> Pretraining:
    """Pre-train SkySense V2 at its published size."""
    optim = OptimConfig(PUBLISHED_RATE, LAST_RATE, PUBLISHED_WARM_UP)
    trainer = TrainerConfig(PUBLISHED_STEPS, precision="bf16", spread="fsdp", recompute=True, optim=optim)
    return Pretraining(data, output, "full", PUBLISHED_BATCH, trainer=trainer)


def _small(data: Path, output: Path, member: str, objective: SkySenseConfig) -> Pretraining:
    """The small members' settings (section 10.6)."""
    rate = PUBLISHED_RATE * math.sqrt(SMALL_BATCH / PUBLISHED_BATCH)
    optim = OptimConfig(rate, LAST_RATE, warm_up=300, decay=0.04, last_decay=0.04)
    trainer = TrainerConfig(20_000, optim=optim)
    return Pretraining(data, output, member, trainer=trainer, objective=replace(objective, held_share=SMALL_HELD))


def run(recipe: Pretraining) -> dict[str, Any]:
    """Pre-train SkySense V2; the teacher's encoder is written as weights.safetensors."""
    with processes(recipe.trainer.device) as group:
        shards = ShardSet(_shards(recipe, group))
        encoder = encoders.build(f"skysense-v2-{recipe.member}", seed=recipe.seed)
        assert isinstance(encoder, SkySenseV2)
        objective = SkySenseObjective(encoder, recipe.objective, _text(recipe, encoder, shards)).train()
        source = ShardViews(shards, recipe.batch, recipe.crops, recipe.seed)
        report = train(objective, source, recipe.trainer, recipe.output, group, asdict(recipe))
        tensors = released(objective.exported())
        if group.first:
            save_tensors(tensors, recipe.output / WEIGHTS)
    return {**report, "samples": len(shards), "weights": str(recipe.output / WEIGHTS)}


def _shards(recipe: Pretraining, group: Processes) -> Path:
    """The folder of shards; of the kit, they are written first."""
    if list(recipe.data.glob("shard-*.tar")):
        return recipe.data
    folder = recipe.output / SHARDS
    if group.first and not (folder / "shards.json").exists():
        write_shards(kit_samples(recipe.data), folder)
    group.wait()
    return folder


def _text(recipe: Pretraining, encoder: SkySenseV2, shards: ShardSet) -> TextAlignment | None:
    """The alignment with map classes where the samples have any; all samples have the same classes."""
    classes = shards[0].classes
    if classes is None:
        if recipe.text_embeddings:
            raise ParameterError("text embeddings are of no use here", "the samples have no map classes", WITH_CLASSES)
        return None
    width = encoder.fusion.project.out_features * (1 if encoder.context is None else 2)
    words = read_embeddings(recipe.text_embeddings) if recipe.text_embeddings else None
    if words is not None and len(words) != len(classes):
        raise ParameterError(f"there are {len(words)} text embeddings for {len(classes)} map classes")
    return TextAlignment(width, len(classes), words)
