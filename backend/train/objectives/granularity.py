"""Multi-granularity contrast: pixels, objects and whole images of two crops (skysense-v2.md, 10.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from backend.train.data.source import random_of
from backend.train.data.views import View
from backend.train.objectives.clusters import CLUSTERS, assigned, pooled
from backend.train.objectives.contrast import Centre, ContrastHead, contrasts, targets
from backend.train.objectives.positions import cell_centres, inside, sampled, to_crop, to_sample

MOST_POSITIONS = 64  # of a pair of crops
LEAST_OVERLAP = 4  # tokens; of a pair with a local crop


class Crop(NamedTuple):
    """One crop of the samples that have a modality, or of the fused feature.

    Attributes:
        number: of the crop; a pair is two different ones.
        maps: N x T x C x h x w.
        there: N x T bool, whether a sample has the date.
        view: the crop's view, of these N samples.
        keys: of the samples.
    """

    number: int
    maps: Tensor
    there: Tensor
    view: View
    keys: Sequence[str]


class Matches(NamedTuple):
    """Features of the same places in crops of the student and of the teacher.

    Attributes:
        student, teacher: M x width.
        weights: M, of sum 1: pairs of crops count alike, within them samples, within these places.
    """

    student: Tensor
    teacher: Tensor
    weights: Tensor


class Granularities(nn.Module):
    """Heads of the student or the teacher, one per granularity, shared by the modalities.

    Args:
        width: channels of the maps.
        outputs: logits of a head.
        hidden: width of the heads' hidden layers.
    """

    NAMES = ("pixel", "object", "image")

    def __init__(self, width: int, outputs: int, hidden: int) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({name: ContrastHead(width, outputs, hidden) for name in self.NAMES})

    def logits(self, name: str, features: Tensor) -> Tensor:
        """... x width -> ... x outputs of a granularity."""
        found: Tensor = self.heads[name](features)
        return found


class GranularityLoss:
    """The losses of matches, each head called once for all that it sees.

    Args:
        student, teacher: their heads.
        centres: of the teacher's logits, by granularity.
        temperature: of the teacher.
    """

    def __init__(
        self, student: Granularities, teacher: Granularities, centres: nn.ModuleDict, temperature: float
    ) -> None:
        self._student, self._teacher, self._centres = student, teacher, centres
        self._temperature = temperature

    def __call__(self, branches: Mapping[str, Mapping[str, Matches]]) -> dict[str, dict[str, Tensor]]:
        """Weighted means by branch, a modality or the fused feature, and granularity."""
        found: dict[str, dict[str, Tensor]] = {branch: {} for branch in branches}
        for name in Granularities.NAMES:
            parts = {branch: matches[name] for branch, matches in branches.items() if name in matches}
            if parts:
                losses = self._terms(name, list(parts.values())).split([len(part.weights) for part in parts.values()])
                for (branch, part), own in zip(parts.items(), losses, strict=True):
                    found[branch][name] = (own * part.weights).sum()
        return found

    def _terms(self, name: str, parts: Sequence[Matches]) -> Tensor:
        """The contrast of every match."""
        centre = self._centres[name]
        assert isinstance(centre, Centre)
        with torch.no_grad():
            logits = self._teacher.logits(name, torch.cat([part.teacher for part in parts]))
            centre.add(logits)
        student = self._student.logits(name, torch.cat([part.student for part in parts]))
        return contrasts(student, targets(logits, centre.centre, self._temperature))


def matches(
    student: Sequence[Crop], teacher: Sequence[Crop], globals_: int, drawn: Iterable[object]
) -> dict[str, Matches]:
    """What is compared in all pairs of a modality's crops, by granularity; dates are matched by their order.

    Args:
        student: all crops.
        teacher: the global ones.
        globals_: crops below this number are global.
        drawn: what the draws depend on beside the samples' keys and the pair, such as seed and step.
    """
    found: dict[str, list[list[tuple[Tensor, Tensor]]]] = {name: [] for name in Granularities.NAMES}
    for seen in student:
        for wanted in teacher:
            if seen.number != wanted.number:
                for pairs in _of_pair(seen, wanted, 1 if seen.number < globals_ else LEAST_OVERLAP, tuple(drawn)):
                    for name, features in pairs.items():
                        found[name].append(features)
    groups = {name: [features for features in lists if features] for name, lists in found.items()}
    return {name: _joined(lists) for name, lists in groups.items() if lists}


def _of_pair(
    seen: Crop, wanted: Crop, least: int, drawn: tuple[object, ...]
) -> Iterable[dict[str, list[tuple[Tensor, Tensor]]]]:
    """Features K x width of every sample of a pair of crops, date by date."""
    rows, columns = seen.maps.shape[-2:]
    cells = cell_centres(rows, columns, seen.maps.device)[None].expand(len(seen.maps), -1, -1)
    there = to_crop(wanted.view, to_sample(seen.view, cells))
    shared = [row.nonzero()[:, 0] for row in inside(there)]
    draws = [random_of(*drawn, key, seen.number, wanted.number) for key in seen.keys]
    kept = [
        places[torch.from_numpy(draw.permutation(len(places))[:MOST_POSITIONS]).to(places.device)]
        for places, draw in zip(shared, draws, strict=True)
    ]
    for date in range(min(seen.maps.shape[1], wanted.maps.shape[1])):
        first, second = seen.maps[:, date].flatten(2).transpose(1, 2), sampled(wanted.maps[:, date], there)
        means = first.mean(dim=1), wanted.maps[:, date].mean(dim=(2, 3))
        pairs: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in Granularities.NAMES}
        for row in (seen.there[:, date] & wanted.there[:, date]).nonzero()[:, 0].tolist():
            mine, theirs = first[row], second[row]
            pairs["image"].append((means[0][row : row + 1], means[1][row : row + 1]))
            if len(shared[row]) >= least:
                pairs["pixel"].append((mine[kept[row]], theirs[kept[row]]))
            if len(shared[row]) >= max(least, CLUSTERS):
                shares = assigned(theirs[shared[row]], draws[row])
                pairs["object"].append((pooled(mine[shared[row]], shares), pooled(theirs[shared[row]], shares)))
        yield pairs


def _joined(groups: Sequence[Sequence[tuple[Tensor, Tensor]]]) -> Matches:
    """All features one after the other, and what each counts."""
    pairs = [pair for group in groups for pair in group]
    weights = [1 / (len(groups) * len(group) * len(mine)) for group in groups for mine, _ in group]
    counts = torch.tensor([len(mine) for mine, _ in pairs])
    student, teacher = (torch.cat([pair[side] for pair in pairs]) for side in (0, 1))
    return Matches(student, teacher, torch.tensor(weights).repeat_interleave(counts).to(student.device))
