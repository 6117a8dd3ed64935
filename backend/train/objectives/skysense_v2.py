"""SkySense V2's pre-training: a student learns from its own moving average over crops, modalities and dates.

Sections refer to skysense-v2.md. HR, MS and SAR pass through the backbone one after the other; gradients accumulate in
the shared weights (10.6).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from backend.models.encoders.prototypes import region_of
from backend.models.encoders.skysense_v2 import SkySenseV2
from backend.models.layers.experts import Routing, balance_loss
from backend.models.layers.swin import SwinBlock
from backend.models.layers.transformer import TransformerBlock
from backend.train.data.source import random_of
from backend.train.data.views import View, ViewBatch
from backend.train.objectives.aggregation import QueryDecoder
from backend.train.objectives.alignment import ModalityAlignment
from backend.train.objectives.contrast import HIDDEN, Centre, ContrastHead, contrast, targets, teacher_temperature
from backend.train.objectives.granularity import Crop, Granularities, GranularityLoss, matches
from backend.train.objectives.objective import Losses, Objective, Progress
from backend.train.objectives.teacher import follow, momentum, teacher_of
from backend.train.objectives.text import TextAlignment

FUSED = "fused"
JITTER_DAYS, YEAR = 15, 365
# Parameters without weight decay beside those of fewer than two dimensions (section 10.6).
UNDECAYED = ("prompt", "table", "days", "extra", "logit_scale", "queries")


@dataclass(frozen=True)
class SkySenseConfig:
    """Weights and sizes of the objective; the defaults are the full model's (sections 10.2 to 10.6).

    Attributes:
        outputs: logits of a contrastive head.
        hidden: width of its hidden layers.
        queries, query_heads: of the aggregation; no queries for none of it.
        contrast, text, aggregation, balance, alignment: weights of the terms.
        held_share: part of training in which the last layers of the heads do not move.
        seed: of what is drawn.
    """

    outputs: int = 65_536
    hidden: int = HIDDEN
    queries: int = 16
    query_heads: int = 16
    contrast: float = 1.0
    text: float = 0.5
    aggregation: float = 1.0
    balance: float = 0.01
    alignment: float = 0.0
    held_share: float = 1250 / 600_000
    seed: int = 42


class Branch(nn.Module):
    """What student and teacher both have: encoder, adapter of the fused map, heads, query decoder."""

    def __init__(self, encoder: SkySenseV2, config: SkySenseConfig) -> None:
        super().__init__()
        self.encoder = encoder
        last = encoder.backbone.widths[-1]
        fused = encoder.fusion.project.out_features * (1 if encoder.context is None else 2)
        self.adapter = nn.Linear(fused, last)
        self.granularities = Granularities(last, config.outputs, config.hidden)
        self.decoder = QueryDecoder(fused, config.queries, config.query_heads) if config.queries else None
        self.query_head = ContrastHead(fused, config.outputs, config.hidden) if config.queries else None


class Seen(NamedTuple):
    """Features of one view: maps and sample numbers by modality, and the fused map of all samples."""

    maps: Mapping[str, Tensor]
    rows: Mapping[str, Tensor]
    fused: Tensor


class SkySenseObjective(Objective):
    """The objective of section 10.6.

    Args:
        encoder: initialised.
        config: see there.
        text: the alignment with map classes; None for none.
    """

    def __init__(
        self, encoder: SkySenseV2, config: SkySenseConfig | None = None, text: TextAlignment | None = None
    ) -> None:
        super().__init__()
        self.config = config or SkySenseConfig()
        self.student = Branch(encoder, self.config)
        self.teacher = teacher_of(self.student)
        self.text = text
        self.align = ModalityAlignment(encoder.backbone.widths[-1]) if self.config.alignment else None
        names = [*Granularities.NAMES, *(["query"] if self.config.queries else [])]
        self.centres = nn.ModuleDict({name: Centre(self.config.outputs) for name in names})
        if encoder.context is not None and self.teacher.encoder.context is not None:
            self.teacher.encoder.context.share(encoder.context)
        self._lesson: tuple[Tensor, Tensor] | None = None

    def train(self, mode: bool = True) -> SkySenseObjective:
        """The student alone drops anything."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, batch: ViewBatch, progress: Progress) -> Losses:
        """Losses of a batch: all crops through the student; through the teacher the global ones, for queries all."""
        config, routing = self.config, list[Routing]()
        drawn = (config.seed, progress.step)
        regions = self._regions(batch)
        seen = self._encode(self.student, batch.student, batch.keys, regions, (*drawn, "student"), routing)
        with torch.no_grad():
            needed = batch.teacher if config.queries else batch.teacher[: batch.globals]
            wanted = self._encode(self.teacher, needed, batch.keys, regions, (*drawn, "teacher"))
        parts = self._granularity(batch, seen, wanted, progress)
        total = config.contrast * torch.stack(list(parts.values())).sum()
        if self.student.decoder is not None:
            parts["query"] = self._aggregation(batch, seen, wanted, progress)
            total = total + config.aggregation * parts["query"]
        if self.text is not None and batch.classes is not None:
            views = zip(seen[: batch.globals], batch.student[: batch.globals], strict=True)
            terms = [self.text(one.fused, view, batch.classes) for one, view in views]
            parts["text"] = torch.stack(terms).mean()
            total = total + config.text * parts["text"]
        if self.align is not None:
            pooled = {name: (seen[0].rows[name], maps.mean(dim=(1, 3, 4))) for name, maps in seen[0].maps.items()}
            parts["alignment"] = self.align(pooled)
            total = total + config.alignment * parts["alignment"]
        if routing:
            parts["balance"] = balance_loss(routing)
            total = total + config.balance * parts["balance"]
        if regions is not None:
            width = self.student.encoder.fusion.project.out_features
            self._lesson = (seen[0].fused[:, :width].detach(), regions)
        return Losses(total, {name: loss.detach() for name, loss in parts.items()}, _counts(batch))

    def exported(self) -> nn.Module:
        """The teacher's encoder."""
        return self.teacher.encoder

    def undecayed(self, name: str) -> bool:
        """Prompts, tables, tokens and scales."""
        return any(part in name for part in UNDECAYED)

    def held(self, name: str, progress: Progress) -> bool:
        """The last layers of the heads, at the begin."""
        return name.endswith(".last") and progress.share < self.config.held_share

    def after_step(self, progress: Progress) -> None:
        """Teacher and centres follow; the prototypes learn."""
        if self._lesson is not None and self.student.encoder.context is not None:
            self.student.encoder.context.learn(*self._lesson)
        follow(self.teacher, self.student, momentum(progress))
        for centre in self.centres.values():
            assert isinstance(centre, Centre)
            centre.move(_over_processes)

    def blocks(self) -> Iterable[nn.Module]:
        """The blocks of the student's and the teacher's backbones."""
        return [part for part in self.modules() if isinstance(part, (SwinBlock, TransformerBlock))]

    def _encode(
        self,
        branch: Branch,
        views: Sequence[View],
        keys: Sequence[str],
        regions: Tensor | None,
        drawn: tuple[object, ...],
        routing: list[Routing] | None = None,
    ) -> list[Seen]:
        """Features of every view; crops of equal size go through the backbone together."""
        maps = self._maps(branch.encoder, views, routing)
        found = []
        for number, view in enumerate(views):
            series, days, valid = [], [], []
            for name, glimpse in view.glimpses.items():
                own = maps[number, name]
                whole = own.new_zeros((len(keys), *own.shape[1:]))
                whole[glimpse.rows] = own
                series.append(whole)
                jittered = _jittered(glimpse.days, [keys[row] for row in glimpse.rows.tolist()], (*drawn, name))
                days.append(_scattered(jittered, glimpse.rows, len(keys)))
                valid.append(
                    _scattered(_at_cells(glimpse.valid, own.shape[-2], own.shape[-1]), glimpse.rows, len(keys))
                )
            fused = branch.encoder.fuse(series, days, valid, regions)
            rows = {name: glimpse.rows for name, glimpse in view.glimpses.items()}
            found.append(Seen({name: maps[number, name] for name in view.glimpses}, rows, fused))
        return found

    def _maps(
        self, encoder: SkySenseV2, views: Sequence[View], routing: list[Routing] | None
    ) -> dict[tuple[int, str], Tensor]:
        together: dict[tuple[str, torch.Size], list[tuple[int, Tensor]]] = defaultdict(list)
        for number, view in enumerate(views):
            for name, glimpse in view.glimpses.items():
                together[name, glimpse.images.shape[1:]].append((number, glimpse.images))
        found = {}
        for (name, _), members in together.items():
            series = encoder.series(torch.cat([images for _, images in members]), name, routing)
            parts = series.split([len(images) for _, images in members])
            found.update({(number, name): part for (number, _), part in zip(members, parts, strict=True)})
        return found

    def _granularity(
        self, batch: ViewBatch, seen: list[Seen], wanted: list[Seen], progress: Progress
    ) -> dict[str, Tensor]:
        """Terms by granularity of all modalities together, and of the fused feature."""
        drawn = (self.config.seed, progress.step, "positions")
        branches = {}
        for name in sorted({name for one in seen for name in one.maps}):
            mine = _crops(batch.student, seen, name, batch.keys)
            theirs = _crops(batch.teacher[: batch.globals], wanted[: batch.globals], name, batch.keys)
            branches[name] = matches(mine, theirs, batch.globals, drawn)
        branches[FUSED] = matches(
            _fused_crops(batch.student, seen, batch.keys, self.student.adapter),
            _fused_crops(batch.teacher[: batch.globals], wanted[: batch.globals], batch.keys, self.teacher.adapter),
            batch.globals,
            drawn,
        )
        term = GranularityLoss(
            self.student.granularities, self.teacher.granularities, self.centres, teacher_temperature(progress)
        )
        found = term(branches)
        fused = found.pop(FUSED)
        parts = {
            kind: torch.stack([losses[kind] for losses in found.values() if kind in losses]).sum()
            for kind in Granularities.NAMES
            if any(kind in losses for losses in found.values())
        }
        return {**parts, FUSED: torch.stack(list(fused.values())).sum()}

    def _aggregation(self, batch: ViewBatch, seen: list[Seen], wanted: list[Seen], progress: Progress) -> Tensor:
        """Queries over the global crops against the teacher's over the local ones, and the other way round."""
        middle, temperature = self.centres["query"], teacher_temperature(progress)
        assert isinstance(middle, Centre)
        mine = [_gathered(self.student, part) for part in (seen[: batch.globals], seen[batch.globals :])]
        with torch.no_grad():
            theirs = [_gathered(self.teacher, part) for part in (wanted[: batch.globals], wanted[batch.globals :])]
            for logits in theirs:
                middle.add(logits)
        large, small = (targets(logits, middle.centre, temperature) for logits in theirs)
        return (contrast(mine[0], small) + contrast(mine[1], large)) / 2

    def _regions(self, batch: ViewBatch) -> Tensor | None:
        """Regions of the samples; None without geo-context."""
        if self.student.encoder.context is None:
            return None
        places = batch.longitudes_latitudes.nan_to_num().tolist()
        return torch.tensor([region_of(*place) for place in places], device=batch.longitudes_latitudes.device)


def _gathered(branch: Branch, views: Sequence[Seen]) -> Tensor:
    """Logits of the queries over all positions of a set of crops."""
    assert branch.decoder is not None and branch.query_head is not None
    tokens = torch.cat([one.fused.flatten(2).transpose(1, 2) for one in views], dim=1)
    found: Tensor = branch.query_head(branch.decoder(tokens))
    return found


def _crops(views: Sequence[View], seen: Sequence[Seen], name: str, keys: Sequence[str]) -> list[Crop]:
    """A modality's crops, of the samples that have it."""
    found = []
    for number, (view, one) in enumerate(zip(views, seen, strict=True)):
        if name in one.maps:
            rows, valid = one.rows[name], view.glimpses[name].valid
            own = [keys[row] for row in rows.tolist()]
            found.append(Crop(number, one.maps[name], valid.flatten(2).any(dim=2), _of_rows(view, rows), own))
    return found


def _fused_crops(views: Sequence[View], seen: Sequence[Seen], keys: Sequence[str], adapter: nn.Module) -> list[Crop]:
    """Crops of the fused feature, which all samples have."""
    found = []
    for number, (view, one) in enumerate(zip(views, seen, strict=True)):
        maps = adapter(one.fused.movedim(1, -1)).movedim(-1, 1)[:, None]
        found.append(Crop(number, maps, maps.new_ones((len(maps), 1), dtype=torch.bool), view, keys))
    return found


def _of_rows(view: View, rows: Tensor) -> View:
    """The view of some of its samples."""
    return view._replace(boxes=view.boxes[rows], flips=view.flips[rows], turns=view.turns[rows])


def _scattered(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """N x ... of some samples -> count x ..., zero or False for the others."""
    whole = values.new_zeros((count, *values.shape[1:]))
    whole[rows] = values
    return whole


def _at_cells(valid: Tensor, rows: int, columns: int) -> Tensor:
    """Pixels N x T x H x W bool -> cells N x T x h x w bool: at least half of a cell."""
    return functional.adaptive_avg_pool2d(valid.float(), (rows, columns)) >= 0.5


def _jittered(days: Tensor, keys: Sequence[str], drawn: tuple[object, ...]) -> Tensor:
    """Days of year moved by up to 15, wrapping (section 8); 0 stays."""
    low, high = -JITTER_DAYS, JITTER_DAYS + 1
    moves = np.stack([random_of(*drawn, "days", key).integers(low, high, days.shape[1]) for key in keys])
    moved = (days.clamp(max=YEAR) - 1 + torch.from_numpy(moves).to(days.device)) % YEAR + 1
    return torch.where(days > 0, moved, days)


def _over_processes(values: Tensor) -> Tensor:
    values = values.clone()
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(values)
    return values


def _counts(batch: ViewBatch) -> dict[str, Any]:
    """Samples, how many have several modalities, and several dates of one."""
    first, count = batch.student[0], len(batch.keys)
    present = torch.zeros(count)
    several = torch.zeros(count, dtype=torch.bool)
    for glimpse in first.glimpses.values():
        rows = glimpse.rows.cpu()
        present[rows] += 1
        several[rows] |= (glimpse.valid.flatten(2).any(dim=2).sum(dim=1) > 1).cpu()
    return {
        "samples": count,
        "several_modalities": int((present > 1).sum()),
        "several_dates": int(several.sum()),
    }
